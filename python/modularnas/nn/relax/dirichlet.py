"""Dirichlet weights of DrNAS: the weights of the candidates are drawn from a distribution that is learnt.

Chen, Wang, Cheng, Tang and Hsieh 2020, "DrNAS: Dirichlet Neural Architecture Search", arXiv 2006.10355, section 3.1.
The
concentration is elu(alpha) + 1 as in their code, so that alpha near 0 is the uniform distribution over weights. The
draw is of normalised gamma variables, whose gradient is the implicit one (Figurnov, Mohamed and Mnih 2018, arXiv
1805.08498); they use torch's Dirichlet, which has the same distribution but no generator.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modularnas.nn.relax.relaxation import Gates, Relaxation

__all__ = ["Dirichlet"]


class Dirichlet(Relaxation):
    """All candidates, weighed by a draw from Dirichlet(elu(alpha) + 1); by its mean in eval mode."""

    name = "dirichlet"

    def concentration(self, logits: Tensor) -> Tensor:
        """The parameters of the distribution, above 0."""
        return functional.elu(logits) + 1

    def probabilities(self, logits: Tensor) -> Tensor:
        """As in `Relaxation`."""
        concentration = self.concentration(logits)
        return concentration / concentration.sum(-1, keepdim=True)

    def gates(self, logits: Tensor, generator: torch.Generator | None) -> Gates:
        """As in `Relaxation`."""
        if generator is None:
            return Gates(self.probabilities(logits))
        # On the CPU, where the generator is, so that every device draws the same.
        gamma = torch._standard_gamma(self.concentration(logits).to("cpu", torch.float64), generator=generator)
        return Gates((gamma / gamma.sum(-1, keepdim=True)).to(logits))
