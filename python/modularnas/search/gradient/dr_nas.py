"""DrNAS: learning the distribution of the mixing weights.

Chen, Wang, Cheng, Tang and Hsieh 2020, "DrNAS: Dirichlet Neural Architecture Search", arXiv 2006.10355: weights drawn
from a Dirichlet distribution with pathwise gradients (section 3.1), and a term that keeps it near the uniform one
(equation 4). As in their code that term is by default the L2 decay of alpha, which is 0 where the concentration is 1
(`reg_type = "l2"`, 1e-3); `anchor="kl"` takes the Kullback-Leibler divergence from Dirichlet(1). Adam with lr 6e-4. The
paper's progressive scheme with partial channels is `PDARTS` and `PCDARTS` here.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from modularnas.errors import SearchError
from modularnas.search.gradient.algorithm import GradientAlgorithm

__all__ = ["DrNAS"]


class DrNAS(GradientAlgorithm):
    """Weights drawn from a Dirichlet distribution.

    Args:
        supernet: as in `GradientAlgorithm`.
        anchor: what keeps the distribution near the uniform one: "l2", the decay of alpha, or "kl".
        anchor_weight: how much it counts.
        settings: as in `GradientAlgorithm`.
    """

    relaxation = "dirichlet"

    def __init__(
        self,
        supernet: Any,
        *,
        anchor: Literal["l2", "kl"] = "l2",
        anchor_weight: float = 1e-3,
        **settings: Any,
    ) -> None:
        if anchor not in ("l2", "kl"):
            raise SearchError(f"anchor is {anchor!r}; expected 'l2' or 'kl'")
        self.anchor = anchor
        self.anchor_weight = anchor_weight
        decay = anchor_weight if anchor == "l2" else 0.0
        self.adam = {"lr": 6e-4, "betas": (0.5, 0.999), "weight_decay": decay}  # type: ignore[misc]  # its own
        super().__init__(supernet, **settings)

    def regulariser(self) -> Tensor | None:
        """As in `GradientAlgorithm`."""
        if self.anchor == "l2":
            return None
        relaxation = self._relaxed.relaxation
        terms = []
        for alpha in self.supernet.alpha.values():
            learnt = relaxation.concentration(alpha)
            terms.append(kl_divergence(Dirichlet(learnt), Dirichlet(torch.ones_like(learnt))))
        return self.anchor_weight * torch.stack(terms).sum()
