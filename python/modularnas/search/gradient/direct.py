"""Direct gradients: alpha and weights are trained alike.

ModularNAS' `DirectGradOptim` and `DirectGradOptimBiLevel` (Lin et al. 2021), its "DARTS one-level" rows: the gradient
of
the loss of the training batch; with `bilevel=True` that of the validation batch, which is DARTS of first order. The
one-level objective is the one that DARTS (arXiv 1806.09055, section 3.3) compares with; in a large space with enough
data it ranks well (StacNAS, arXiv 1909.11926).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modularnas.search.gradient.algorithm import GradientAlgorithm, LossFunction, gradients_of

__all__ = ["DirectGradient"]


class DirectGradient(GradientAlgorithm):
    """The plain gradient of alpha: of the training loss, or with `bilevel=True` of the validation loss.

    Args:
        supernet: as in `GradientAlgorithm`.
        bilevel: whether the validation batch trains alpha.
        settings: as in `GradientAlgorithm`.
    """

    def __init__(self, supernet: Any, *, bilevel: bool = False, **settings: Any) -> None:
        super().__init__(supernet, **settings)
        self.bilevel = bilevel

    def gradients(
        self,
        loss_fn: LossFunction,
        train_batch: Any,
        valid_batch: Any,
        weights_optimizer: torch.optim.Optimizer | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """As in `GradientAlgorithm`."""
        loss = self.objective(loss_fn, valid_batch if self.bilevel else train_batch)
        return loss, gradients_of(loss, self.alphas)
