"""ReinMax: a straight-through estimator of second order.

Liu, Dong, Wang, Chen and Gao 2023, "Bridging Discrete and Backpropagation: Straight-Through and Beyond", arXiv
2304.08612, algorithm 2: one candidate is drawn from the softmax, and the gradient is that of Heun's method instead of
the straight-through estimator's Euler method. The other candidates run too, without a graph, since the estimator needs
their outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modularnas.nn.relax.relaxation import Gates, Relaxation, draw, hard, others, straight_through

__all__ = ["ReinMax"]


class ReinMax(Relaxation):
    """One candidate drawn from softmax(alpha), with a gradient that is right to second order."""

    name = "reinmax"
    n_paths = 1

    def gates(self, logits: Tensor, generator: torch.Generator | None) -> Gates:
        """As in `Relaxation`."""
        first = torch.softmax(logits, -1)
        paths = draw(first, 1, generator)
        drawn = hard(logits, paths)
        middle = (drawn + torch.softmax(logits / self.temperature, -1)) / 2
        middle = torch.softmax((middle.log() - logits).detach() + logits, -1)
        surrogate = 2 * middle - first / 2
        return Gates(straight_through(drawn, surrogate), paths, others(paths, logits.shape[-1]))
