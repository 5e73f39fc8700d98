"""Gumbel-softmax weights: all candidates run, weighed by a draw that is soft.

Jang, Gu and Poole 2016, arXiv 1611.01144, and Maddison, Mnih and Teh 2016, arXiv 1611.00712, equation 10; for
architectures SNAS (Xie, Zheng, Liu and Lin 2018, arXiv 1812.09926, equation 4) and FBNet (Wu et al. 2018, arXiv
1812.03443, equation 6). The lower the temperature, the nearer the draw is to a single candidate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modularnas.nn.relax.relaxation import Gates, Relaxation, gumbel

__all__ = ["Gumbel"]


class Gumbel(Relaxation):
    """All candidates, weighed by softmax((alpha + Gumbel noise) / temperature); without the noise in eval mode."""

    name = "gumbel"

    def gates(self, logits: Tensor, generator: torch.Generator | None) -> Gates:
        """As in `Relaxation`."""
        return Gates(torch.softmax(gumbel(logits, generator) / self.temperature, -1))
