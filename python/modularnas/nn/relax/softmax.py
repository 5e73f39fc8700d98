"""The softmax sum of DARTS: every candidate runs, weighed by the softmax of the architecture parameters.

Liu, Simonyan and Yang 2018, "DARTS: Differentiable Architecture Search", arXiv 1806.09055, equation 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modularnas.nn.relax.relaxation import Gates, Relaxation

__all__ = ["Softmax"]


class Softmax(Relaxation):
    """All candidates, weighed by softmax(alpha / temperature)."""

    name = "softmax"
    draws = False

    def probabilities(self, logits: Tensor) -> Tensor:
        """As in `Relaxation`."""
        return torch.softmax(logits / self.temperature, -1)

    def gates(self, logits: Tensor, generator: torch.Generator | None) -> Gates:
        """As in `Relaxation`."""
        return Gates(self.probabilities(logits))
