"""Every choice of every decision exactly once a step.

Chu, Zhang and Xu 2019, "FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural Architecture Search", arXiv
1907.01845, section 3.2 and algorithm 1 (strict fairness): with m choices, a step draws a permutation for each decision,
runs the m paths that they make, and updates the weights once by the sum of the gradients. The paper has as many choices
everywhere; here m is the largest number, and a decision with n < m choices goes through permutations of its own one
after the other, so that its choices differ by at most one time a step. A decision that a path makes inactive takes no
turn on it, so inside of blocks fairness is as far as the block is there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modularnas.train.strategy import Strategy, labels, settled

__all__ = ["FairNAS"]


class FairNAS(Strategy):
    """As many paths a step as there are choices, each choice in one of them.

    Args:
        seed: the seed of the paths.

    Raises:
        SpaceError: at the first step, if a decision has no choices (a number).
    """

    name = "fair"

    def n_paths(self, space: Any) -> int:
        """The largest number of choices."""
        return max(len(choices) for choices in map(labels, space.decisions))

    def paths(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """Permutations beside one another."""
        rng = np.random.default_rng([seed, step])
        m = self.n_paths(space)
        columns = []
        for choices in map(labels, space.decisions):
            n = len(choices)
            columns.append(np.concatenate([rng.permutation(n) for _ in range(-(-m // n))])[:m])
        rows = np.stack(columns, axis=1)
        return np.array([settled(space, row) for row in rows.tolist()], dtype=np.int32)
