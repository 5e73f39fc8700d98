"""Random networks with a preference: of several with about the same cost, the worst or the best is trained.

Wang et al. 2020, "AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling", arXiv 2011.09011,
sections 3.2 and 4, equation 6: a cost is drawn, then k networks of that cost, and the one with the highest (BestUp) or
lowest (WorstUp) estimated performance is trained, within the sandwich rule. The cost is drawn from the costs of uniform
networks, as in the paper; networks of that cost are the k nearest of a pool of uniform ones, where the paper keeps a
table of conditional probabilities. Performance is the user's predictor, or the loss on the batch at hand (the paper's
variant without a predictor). k = 50 with a predictor and 3 with the loss are the paper's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas.errors import SpaceError
from modularnas.train.distillation import Distance
from modularnas.train.sandwich import Sandwich
from modularnas.train.strategy import Backward, LossFunction, unwrapped

__all__ = ["Attentive"]

#: Uniform networks a candidate, of which the nearest in cost are taken.
POOL = 16


class Attentive(Sandwich):
    """The sandwich rule with random networks chosen by estimated performance.

    Args:
        prefer: `"worst"` (train what is behind) or `"best"` (train what will be on the front).
        score: `score(indices) -> array`: estimated performance of networks, more is better, from codes of shape
            (n, decisions); None: the loss on the batch at hand, negated, which only `step` knows.
        k: how many networks of a cost to choose from; None: 50 with a score, 3 without.
        metric: the cost.
        n_random: chosen networks a step.
        distill: as in `Sandwich`.
        seed: the seed of the paths.

    Raises:
        SpaceError: for another preference; in `supernet.sampling` without a score.
    """

    name = "attentive"

    def __init__(
        self,
        prefer: Literal["worst", "best"] = "worst",
        score: Callable[[NDArray[np.int32]], Any] | None = None,
        *,
        k: int | None = None,
        metric: str = "macs",
        n_random: int = 2,
        distill: bool | Distance = True,
        seed: int = 0,
    ) -> None:
        super().__init__(n_random, distill, seed=seed)
        if prefer not in ("worst", "best"):
            raise SpaceError(f"attentive sampling prefers {prefer!r}; expected 'worst' or 'best'")
        self.prefer = prefer
        self.score = score
        self.k = k if k is not None else 3 if score is None else 50
        self.metric = metric
        self._loss: Callable[[NDArray[np.int32]], Any] | None = None

    def middle(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """Of `k` networks of each drawn cost the preferred one."""
        score = self.score or self._loss
        if score is None:
            raise SpaceError("attentive sampling without a score needs the loss; give score=, or train by step()")
        count = self.k * POOL + 1
        chosen = []
        for i in range(self.n_random):
            rows = space.sample_indices(seed, (step * self.n_random + i) * count, count)
            costs = np.asarray(space.cost(rows)[self.metric], dtype=np.float64)
            near = rows[1:][np.argsort(np.abs(costs[1:] - costs[0]), kind="stable")[: self.k]]
            scores = np.asarray(score(near), dtype=np.float64)
            chosen.append(near[scores.argmin() if self.prefer == "worst" else scores.argmax()])
        return np.array(chosen, dtype=np.int32).reshape(self.n_random, -1)

    def step(
        self, supernet: nn.Module, loss_fn: LossFunction, batch: Any, *, backward: Backward | None = None
    ) -> Tensor:
        """As the sandwich rule's."""
        net = unwrapped(supernet)

        def negated(rows: NDArray[np.int32]) -> list[float]:
            losses = []
            with torch.no_grad():
                for codes in rows.tolist():
                    net._switch(codes)
                    losses.append(-float(loss_fn(supernet, batch)))
            return losses

        self._loss = negated
        try:
            return super().step(supernet, loss_fn, batch, backward=backward)
        finally:
            self._loss = None
