"""Straight-through Gumbel draws: one candidate runs as it is, the gradient is that of the soft draw.

GDAS (Dong and Yang 2019, "Searching for a Robust Neural Architecture in Four GPU Hours", arXiv 1910.04465, equations 3
to 5; the estimator is that of arXiv 1611.01144, section 2.2). Only the drawn candidate runs, so its output alone tells
the gradient of the weights, as the paper's equation 6 and its code have it; their code adds the scalar weights of the
others to every pixel, which is an accident of its form and left out here. With `watch=True` the others run too,
without a graph, and the estimator is the full one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modularnas.nn.relax.relaxation import Gates, Relaxation, gumbel, hard, others, straight_through

__all__ = ["StraightThrough"]


class StraightThrough(Relaxation):
    """One candidate, the maximum of alpha + Gumbel noise, with the gradient of the Gumbel-softmax.

    Args:
        temperature: of the softmax whose gradient it has.
        watch: whether the other candidates run as well, so that the gradient knows their outputs.
    """

    name = "straight_through"
    n_paths = 1

    def __init__(self, temperature: float = 1.0, watch: bool = False) -> None:
        super().__init__(temperature)
        self.watch = watch

    def gates(self, logits: Tensor, generator: torch.Generator | None) -> Gates:
        """As in `Relaxation`."""
        soft = torch.softmax(gumbel(logits, generator) / self.temperature, -1)
        paths: list[list[int]] = soft.detach().argmax(-1, keepdim=True).tolist()
        watched = others(paths, logits.shape[-1]) if self.watch else None
        return Gates(straight_through(hard(logits, paths), soft), paths, watched)
