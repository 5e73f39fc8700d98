"""The plain training of the network that is active: weights only, no search."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas.train.strategy import Backward, LossFunction, Strategy, largest, unwrapped

__all__ = ["WeightsOnly"]


class WeightsOnly(Strategy):
    """Trains the active point, or a given one; architecture parameters get no gradient.

    Args:
        point: the point to train; None: whichever is active, in `supernet.sampling` the largest network.
        seed: unused, as no path is drawn.
    """

    name = "weights_only"

    def __init__(self, point: Any = None, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.point = point

    def paths(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """The point."""
        codes = largest(space) if self.point is None else space.indices([self.point])[0].tolist()
        return np.array([codes], dtype=np.int32)

    def step(
        self, supernet: nn.Module, loss_fn: LossFunction, batch: Any, *, backward: Backward | None = None
    ) -> Tensor:
        """One plain step."""
        net = unwrapped(supernet)
        if self.point is not None:
            net.activate(self.point)
        alphas = [
            p for name, p in net.named_parameters() if name.startswith(("alpha.", "edge_alpha.")) and p.requires_grad
        ]
        for alpha in alphas:
            alpha.requires_grad_(False)
        try:
            loss = loss_fn(supernet, batch)
            (backward or Tensor.backward)(loss)
        finally:
            for alpha in alphas:
                alpha.requires_grad_()
        self.n_steps += 1
        return loss.detach()
