"""PC-DARTS: DARTS on a share of the channels, with edges that are weighed too.

Xu et al. 2019, "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", arXiv 1907.05737, as
in `modularnas.nn.relax.PartialChannels`: first order, a quarter of the channels, Adam with lr 6e-4 (section 4.2). In
the paper alpha rests for the first 15 of 50 epochs: `warmup_steps=`.
"""

from __future__ import annotations

from typing import Any

from modularnas.search.gradient.algorithm import GradientAlgorithm

__all__ = ["PCDARTS"]


class PCDARTS(GradientAlgorithm):
    """DARTS of first order on partial channels with edge normalisation.

    Args:
        supernet: as in `GradientAlgorithm`; the channels of its mixed ops are multiples of `share`.
        share: one channel in so many goes through the candidates.
        settings: as in `GradientAlgorithm`.
    """

    relaxation = "partial_channels"
    adam = {"lr": 6e-4, "betas": (0.5, 0.999), "weight_decay": 1e-3}  # noqa: RUF012 - a constant

    def __init__(self, supernet: Any, *, share: int = 4, **settings: Any) -> None:
        super().__init__(supernet, share=share, **settings)
