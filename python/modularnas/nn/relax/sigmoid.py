"""Sigmoid gates of FairDARTS: candidates do not compete, each has a gate of its own.

Chu, Zhou, Zhang and Li 2019, "Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search", arXiv
1911.12126, equation 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modularnas.nn.relax.relaxation import Gates, Relaxation

__all__ = ["Sigmoid"]


class Sigmoid(Relaxation):
    """All candidates, each weighed by sigmoid(alpha / temperature)."""

    name = "sigmoid"
    draws = False

    def probabilities(self, logits: Tensor) -> Tensor:
        """As in `Relaxation`."""
        return torch.sigmoid(logits / self.temperature)

    def gates(self, logits: Tensor, generator: torch.Generator | None) -> Gates:
        """As in `Relaxation`."""
        return Gates(self.probabilities(logits))
