"""GDAS: one drawn candidate a step, with the gradient of the soft draw.

Dong and Yang 2019, "Searching for a Robust Neural Architecture in Four GPU Hours", arXiv 1910.04465: bi-level, first
order, through straight-through Gumbel draws (equations 3 to 6), so a step costs what one architecture costs. The
temperature falls linearly from 10 to 0.1 (section 4.2). The gradient is as said in
`modularnas.nn.relax.StraightThrough`.
"""

from __future__ import annotations

from typing import Any

from modularnas.nn.relax import Linear
from modularnas.search.gradient.algorithm import GradientAlgorithm, Schedule

__all__ = ["GDAS"]


class GDAS(GradientAlgorithm):
    """Straight-through Gumbel draws with an annealed temperature.

    Args:
        supernet: as in `GradientAlgorithm`.
        steps: the length of the annealing, all steps of the search.
        temperature: a number or a function of the step; None: a line from 10 to 0.1.
        settings: as in `GradientAlgorithm`.
    """

    relaxation = "straight_through"

    def __init__(
        self,
        supernet: Any,
        *,
        steps: int = 10_000,
        temperature: float | Schedule | None = None,
        **settings: Any,
    ) -> None:
        schedule = Linear(10.0, 0.1, steps) if temperature is None else temperature
        super().__init__(supernet, temperature=schedule, **settings)
