"""SDARTS: weights that are good around alpha, so that the discrete architecture is near what was trained.

Chen and Hsieh 2020, "Stabilizing Differentiable Architecture Search via Perturbation-based Regularization", arXiv
2002.05283: weights are trained while the weights of the candidates are perturbed within a ball, uniformly (SDARTS-RS,
equation 7) or by the perturbation that is worst for the training batch (SDARTS-ADV, equation 8, projected gradient
ascent of 7 steps of 2 eps / 7, in eval mode). The architecture's step is that of DARTS, unperturbed. The ball grows
linearly from 0.03 to 0.3, and as in their code it is around the softmax, whose values are kept within 0 and 1.

`step` leaves the perturbation behind for the user's step of the weights that follows.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from modularnas.errors import SearchError
from modularnas.nn.relax import Linear
from modularnas.search.gradient.algorithm import LossFunction, Schedule, gradients_of
from modularnas.search.gradient.darts import DARTS

__all__ = ["SDARTS"]


class SDARTS(DARTS):
    """DARTS whose weights are trained under perturbed alpha.

    Args:
        supernet: as in `GradientAlgorithm`.
        perturbation: "random" (RS) or "adversarial" (ADV).
        radius: of the ball: a number or a function of the step; None: a line from 0.03 to 0.3 over `steps`.
        steps: all steps of the search.
        ascents: steps of the adversarial ascent.
        unrolled: as in `DARTS`.
        settings: as in `DARTS`.
    """

    def __init__(
        self,
        supernet: Any,
        *,
        perturbation: Literal["random", "adversarial"] = "random",
        radius: float | Schedule | None = None,
        steps: int = 10_000,
        ascents: int = 7,
        unrolled: bool = False,
        **settings: Any,
    ) -> None:
        if perturbation not in ("random", "adversarial"):
            raise SearchError(f"perturbation is {perturbation!r}; expected 'random' or 'adversarial'")
        super().__init__(supernet, unrolled=unrolled, **settings)
        self.perturbation = perturbation
        self.radius = Linear(0.03, 0.3, steps) if radius is None else radius
        self.ascents = ascents

    def backward(
        self,
        loss_fn: LossFunction,
        train_batch: Any,
        valid_batch: Any,
        weights_optimizer: torch.optim.Optimizer | None = None,
    ) -> Tensor:
        """As in `DARTS`, without the perturbation."""
        self._relaxed.shift.clear()
        return super().backward(loss_fn, train_batch, valid_batch, weights_optimizer)

    def step(
        self,
        loss_fn: LossFunction,
        train_batch: Any,
        valid_batch: Any,
        weights_optimizer: torch.optim.Optimizer | None = None,
    ) -> Tensor | None:
        """As in `DARTS`; then the perturbation for the weights."""
        loss = super().step(loss_fn, train_batch, valid_batch, weights_optimizer)
        self.perturb(loss_fn, train_batch)
        return loss

    def perturb(self, loss_fn: LossFunction, train_batch: Any) -> None:
        """Perturbs the weights of the candidates until the next step of the architecture.

        Args:
            loss_fn: as in `backward`.
            train_batch: the batch that the weights are trained on next.
        """
        radius = self.radius(self.n_steps) if callable(self.radius) else self.radius
        shift = self._relaxed.shift
        shift.clear()
        weights = {name: w.detach() for name, w in self._of_kept().items()}
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + self.n_steps) % 2**63)

        def within(name: str, value: Tensor) -> Tensor:
            return (weights[name] + value.clamp(-radius, radius)).clamp(0, 1) - weights[name]

        for name, w in weights.items():
            noise = 2 * torch.rand(w.shape, generator=generator, dtype=torch.float64) - 1
            shift[name] = within(name, radius * noise.to(w))
        if self.perturbation == "random":
            return
        training = self.supernet.training
        self.supernet.eval()
        try:
            for _ in range(self.ascents):
                inputs = [value.requires_grad_() for value in shift.values()]
                gradients = gradients_of(loss_fn(self.supernet, train_batch), inputs)
                for name, gradient in zip(list(shift), gradients, strict=True):
                    ascent = 2 * radius / self.ascents * gradient.sign()
                    shift[name] = within(name, shift[name].detach() + ascent)
        finally:
            self.supernet.train(training)

    def _of_kept(self) -> dict[str, Tensor]:
        probabilities = self._relaxed.probabilities()
        return {name: probabilities[name][list(kept)] for name, kept in self._relaxed.candidates.items()}
