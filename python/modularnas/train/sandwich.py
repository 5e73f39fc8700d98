"""The largest network, the smallest and random ones in every step; the others learn from the largest.

Yu and Huang 2019, "Universally Slimmable Networks and Improved Training Techniques", arXiv 1903.05134, section 3: the
sandwich rule and in-place distillation. Yu et al. 2020, "BigNAS", arXiv 2003.11142, section 3.1, uses both for whole
architectures: two random networks a step, and only the largest sees the labels. Largest and smallest are those with the
most and fewest multiply-accumulates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas.train.distillation import Distance, captured, logits, soft_cross_entropy
from modularnas.train.strategy import LossFunction, Strategy, largest, smallest

__all__ = ["Sandwich"]


class Sandwich(Strategy):
    """The largest, `n_random` random and the smallest network a step.

    Args:
        n_random: random networks a step.
        distill: whether all but the largest learn from its outputs in the place of the labels; or the loss to use,
            `distill(student, teacher)` of the outputs. In `supernet.sampling`, where the loss is the user's, no
            network learns from another.
        seed: the seed of the paths.
    """

    name = "sandwich"

    def __init__(self, n_random: int = 2, distill: bool | Distance = True, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.n_random = n_random
        self.distance = soft_cross_entropy if distill is True else distill or None
        self._teacher: Tensor | None = None
        self._extremes: tuple[Any, list[int], list[int]] | None = None

    def n_paths(self, space: Any) -> int:
        """Two and the random ones."""
        return self.n_random + 2

    def paths(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """The largest first, the smallest last."""
        if self._extremes is None or self._extremes[0] is not space:
            self._extremes = (space, largest(space), smallest(space))
        _, first, last = self._extremes
        return np.array([first, *self.middle(space, seed, step), last], dtype=np.int32)

    def middle(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """The random ones."""
        rows: NDArray[np.int32] = space.sample_indices(seed, step * self.n_random, self.n_random)
        return rows

    def loss(self, supernet: nn.Module, loss_fn: LossFunction, batch: Any, turn: int) -> Tensor:
        """The user's loss for the largest network, the distance to its outputs for the others."""
        if self.distance is None:
            return loss_fn(supernet, batch)
        with captured(supernet) as outputs:
            loss = loss_fn(supernet, batch)
        if turn == 0:
            self._teacher = logits(outputs).detach()
            return loss
        assert self._teacher is not None
        return self.distance(logits(outputs), self._teacher)
