"""ProxylessNAS with gradients: two candidates of each place are compared in a step of the architecture.

Cai, Zhu and Han 2018, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", arXiv 1812.00332,
section 3.2.1. Weights are trained on one drawn path; the step of the architecture draws two candidates, runs one, and
gives both the gradient of their gates. After the step the two are shifted together, so that the probabilities of the
candidates that were not drawn stay (their code's `rescale_updated_arch_param`). Adam without momentum, lr 6e-3 and no
decay are ModularNAS' defaults; without momentum a candidate moves only when it was drawn.

With `relaxation="uniform_gate"` it is ModularNAS' ProxylessNAS-GU. Latency in the loss (section 3.3.1) is `cost=`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from modularnas.search.gradient.algorithm import GradientAlgorithm, LossFunction

__all__ = ["ProxylessNAS"]


class ProxylessNAS(GradientAlgorithm):
    """Binary gates: one path for weights, two candidates for the architecture.

    Args:
        supernet: as in `GradientAlgorithm`.
        paths: candidates that are compared in a step.
        uniform: whether candidates are drawn uniformly (ModularNAS' GU) instead of by their probabilities.
        rescale: whether candidates that were not drawn keep their probabilities.
        settings: as in `GradientAlgorithm`.
    """

    relaxation = "binary_gate"
    adam = {"lr": 6e-3, "betas": (0.0, 0.999), "weight_decay": 0.0}  # noqa: RUF012 - a constant

    def __init__(
        self, supernet: Any, *, paths: int = 2, uniform: bool = False, rescale: bool = True, **settings: Any
    ) -> None:
        if uniform:
            self.relaxation = "uniform_gate"  # type: ignore[misc]  # of this search alone
        super().__init__(supernet, **settings)
        self.paths = paths
        self.rescale = rescale
        self._relaxed.relaxation.paths = 1

    def _relax(self, **more: Any) -> None:
        super()._relax(**more)
        self._relaxed.relaxation.paths = 1

    @contextlib.contextmanager
    def _compared(self) -> Iterator[None]:
        gate = self._relaxed.relaxation
        gate.paths = self.paths
        try:
            yield
        finally:
            gate.paths = 1

    def gradients(
        self,
        loss_fn: LossFunction,
        train_batch: Any,
        valid_batch: Any,
        weights_optimizer: torch.optim.Optimizer | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """As in `GradientAlgorithm`."""
        with self._compared():
            return super().gradients(loss_fn, train_batch, valid_batch, weights_optimizer)

    @torch.no_grad()
    def update(self) -> None:
        """As in `GradientAlgorithm`, with the shift of the paths that were drawn."""
        if not self.rescale:
            super().update()
            return
        before = [alpha.clone() for alpha in self.alphas]
        super().update()
        for alpha, old in zip(self.alphas, before, strict=True):
            moved = alpha != old
            if moved.any() and not moved.all():
                shift = alpha[moved].logsumexp(0) - old[moved].logsumexp(0)
                alpha[moved] -= shift
