"""Some steps of one strategy before another takes over.

Weights are trained before an architecture is searched with them: Cai, Zhu and Han 2018, ProxylessNAS, arXiv 1812.00332,
section 4.2, and Yu et al. 2020, BigNAS, arXiv 2003.11142, section 3.1, warm up; so does the original ModularNAS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas.train.strategy import Backward, LossFunction, Strategy, largest, unwrapped
from modularnas.train.weights_only import WeightsOnly

__all__ = ["WarmUp"]


class WarmUp(Strategy):
    """The first `steps` steps are those of `first`, the others those of `then`.

    Args:
        then: the strategy that takes over; it starts at its own step 0.
        steps: how many steps to warm up.
        first: the strategy before; None: plain training of the largest network.
    """

    name = "warm_up"

    def __init__(self, then: Strategy, steps: int, first: Strategy | None = None) -> None:
        super().__init__(seed=then.seed)
        self.then = then
        self.steps = steps
        self.first = first

    def n_paths(self, space: Any) -> int:
        """One while warming up in `supernet.sampling` is counted as one of the later strategy's."""
        return self.then.n_paths(space)

    def paths(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """Those of the strategy whose turn it is, as many as the later one has."""
        if step >= self.steps:
            return self.then.paths(space, seed, step - self.steps)
        first = self.first or WeightsOnly()
        rows = first.paths(space, seed, step)
        return np.resize(rows, (self.then.n_paths(space), rows.shape[1]))

    def step(
        self, supernet: nn.Module, loss_fn: LossFunction, batch: Any, *, backward: Backward | None = None
    ) -> Tensor:
        """A step of the strategy whose turn it is."""
        if self.n_steps >= self.steps:
            now = self.then
        else:
            if self.first is None:
                net = unwrapped(supernet)
                self.first = WeightsOnly(net.space.point_at(largest(net.space)))
            now = self.first
        self.n_steps += 1
        return now.step(supernet, loss_fn, batch, backward=backward)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        first = None if self.first is None else self.first.state_dict()
        return {**super().state_dict(), "first": first, "then": self.then.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on at the step of a `state_dict`."""
        super().load_state_dict(state)
        self.then.load_state_dict(state["then"])
        if self.first is not None and state["first"] is not None:
            self.first.load_state_dict(state["first"])
