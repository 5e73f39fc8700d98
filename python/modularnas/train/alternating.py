"""Weights and architecture parameters in turn: the bi-level scheme of differentiable search.

Liu, Simonyan and Yang 2018, "DARTS", arXiv 1806.09055, algorithm 1: a step of the architecture on validation data, then
one of the weights on training data. Which step the architecture takes is the gradient search's; here is only the order,
how often, and the warm-up before (ProxylessNAS, arXiv 1812.00332, and the original ModularNAS train weights alone for
some epochs first).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas.errors import SpaceError
from modularnas.train.strategy import Backward, LossFunction, Strategy
from modularnas.train.weights_only import WeightsOnly

__all__ = ["Alternating"]


class Alternating(Strategy):
    """A step of the architecture, then the gradients of the weights.

    Args:
        search: a gradient search such as `mn.search.DARTS(supernet)`: anything with
            `step(loss_fn, train_batch, valid_batch, weights_optimizer=)`.
        weights_optimizer: the optimizer of the weights; the caller steps it, the search looks at it.
        weights: how weights are trained; None: the supernet as it is, which mixes what is relaxed.
        warm_up: steps in which only weights are trained.
        every: an architecture step in every so many steps.
    """

    name = "alternating"

    def __init__(
        self,
        search: Any,
        weights_optimizer: torch.optim.Optimizer,
        *,
        weights: Strategy | None = None,
        warm_up: int = 0,
        every: int = 1,
    ) -> None:
        super().__init__()
        self.search = search
        self.weights_optimizer = weights_optimizer
        self.weights = weights or WeightsOnly()
        self.warm_up = warm_up
        self.every = every

    def paths(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """There are none: the architecture is searched while it trains.

        Raises:
            SpaceError: always; `supernet.sampling` cannot alternate.
        """
        raise SpaceError(
            "alternating training needs two batches a step; call its step(supernet, loss_fn, (train, valid))"
        )

    def step(
        self, supernet: nn.Module, loss_fn: LossFunction, batch: Any, *, backward: Backward | None = None
    ) -> Tensor:
        """One step; `batch` is a pair of a training and a validation batch."""
        train_batch, valid_batch = batch
        if self.n_steps >= self.warm_up and (self.n_steps - self.warm_up) % self.every == 0:
            self.search.step(loss_fn, train_batch, valid_batch, weights_optimizer=self.weights_optimizer)
        self.n_steps += 1
        return self.weights.step(supernet, loss_fn, train_batch, backward=backward)
