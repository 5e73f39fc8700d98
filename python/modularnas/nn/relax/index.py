"""A single path: the strongest candidate runs, and nothing else.

ModularNAS' `IndexMixedOp`: the discrete point of a relaxation, without its gradient. What a supernet runs that is not
relaxed at all is the point last activated; this is the point of the architecture parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modularnas.nn.relax.relaxation import Gates, Relaxation, draw

__all__ = ["Index"]


class Index(Relaxation):
    """The candidate with the largest alpha; alpha gets no gradient."""

    name = "index"
    draws = False
    n_paths = 1

    def gates(self, logits: Tensor, generator: torch.Generator | None) -> Gates:
        """As in `Relaxation`."""
        return Gates(None, draw(self.probabilities(logits), 1, None))
