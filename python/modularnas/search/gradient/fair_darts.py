"""FairDARTS: candidates do not compete, and gates are pushed to 0 or 1.

Chu, Zhou, Zhang and Li 2019, "Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search", arXiv
1911.12126: sigmoid gates (equation 4), and the zero-one loss -mean((sigmoid(alpha) - 1/2)^2) with weight 10 (equation 5
and section 4.1). Of a place with a candidate "none", none is chosen when no gate is above the threshold; the paper has
no such candidate and drops the edge (section 4.1, threshold 0.85).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modularnas.search.gradient.algorithm import GradientAlgorithm

__all__ = ["FairDARTS"]


class FairDARTS(GradientAlgorithm):
    """Sigmoid gates with a zero-one loss.

    Args:
        supernet: as in `GradientAlgorithm`.
        zero_one_weight: of the zero-one loss.
        threshold: gates of at most this do not count where "none" may be chosen; None: they do.
        settings: as in `GradientAlgorithm`.
    """

    relaxation = "sigmoid"

    def __init__(
        self,
        supernet: Any,
        *,
        zero_one_weight: float = 10.0,
        threshold: float | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(supernet, **settings)
        self.zero_one_weight = zero_one_weight
        self.threshold = threshold

    def regulariser(self) -> Tensor:
        """As in `GradientAlgorithm`."""
        gates = torch.cat([gates for gates in self._relaxed.probabilities().values()])
        return -self.zero_one_weight * (gates - 0.5).square().mean()

    def point(self) -> Any:
        """As in `GradientAlgorithm`, with the threshold."""
        point = self._relaxed.point()
        if self.threshold is None:
            return point
        weak = {
            name: "none"
            for name, gates in self._relaxed.labelled().items()
            if "none" in gates and max(gates.values()) <= self.threshold
        }
        return self._relaxed.settled({**point, **weak})
