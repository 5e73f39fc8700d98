"""A connection past a module, with a weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Skip"]


class Skip(nn.Module):
    """`share * block(x) + (1 - share) * x` with a trained share that starts at 1, where the skip changes nothing.

    Elsken, Metzen and Hutter 2017, arXiv 1711.04528, equation 4 (network morphism type IV).

    Args:
        block: the module; its output has the shape of its input.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.share = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """The weighted sum."""
        out: Tensor = self.share * self.block(x) + (1 - self.share) * x
        return out
