"""SNAS: soft draws from a distribution over architectures that becomes sharp.

Xie, Zheng, Liu and Lin 2018, "SNAS: Stochastic Neural Architecture Search", arXiv 1812.09926, section 2: weights and
architecture descend one loss (one level), through Gumbel-softmax draws whose temperature is annealed; costs join the
loss as expectations (section 2.3, here exact, `cost=`). ModularNAS' `GumbelAnnealingOptim` has restarts and takes the
validation loss (`bilevel=True`, "SNAS bi-level" of its table 3); its schedule is
`temperature=modularnas.nn.relax.Exponential(1e4, 0.0015)`. FBNet (Wu et al. 2018, arXiv 1812.03443) is the same with
`cost=` and `bilevel=True`.

Defaults: the temperature falls from 1 to 0.03 as in section 3.1, at ModularNAS' rate a step.
"""

from __future__ import annotations

from typing import Any

from modularnas.nn.relax import Exponential
from modularnas.search.gradient.algorithm import Schedule
from modularnas.search.gradient.direct import DirectGradient

__all__ = ["SNAS"]


class SNAS(DirectGradient):
    """Gumbel-softmax draws with an annealed temperature, on one level unless `bilevel=True`.

    Args:
        supernet: as in `GradientAlgorithm`.
        bilevel: whether the validation batch trains alpha.
        temperature: a number or a function of the step.
        settings: as in `GradientAlgorithm`.
    """

    relaxation = "gumbel"

    def __init__(
        self,
        supernet: Any,
        *,
        bilevel: bool = False,
        temperature: float | Schedule = Exponential(1.0, rate=0.0015, floor=0.03),  # noqa: B008 - immutable
        **settings: Any,
    ) -> None:
        super().__init__(supernet, bilevel=bilevel, temperature=temperature, **settings)
