"""The registered search algorithms, one class each. Written by tests/search/write_algorithms.py; do not edit."""

from __future__ import annotations

from typing import Any, Literal  # noqa: F401

from modularnas.search.algorithm import Algorithm

__all__ = [
    "Random",
    "RegularizedEvolution",
]


class Random(Algorithm):
    """Random search.

    Every decision uniform over its values, independent of all results (Li and Talwalkar 2019, arXiv 1902.07638). The
    baseline that a search must beat at equal budget.
    """

    name = "random"


class RegularizedEvolution(Algorithm):
    """Regularized (ageing) evolution (Real et al. 2018, arXiv 1802.01548).

    Mutates the winner of a tournament among the last `population` trials; the oldest is forgotten.

    Args:
        population: Number of trials kept, and of random trials at the start; 1 or more.
        sample: Size of the tournament; 1 (a random parent) or more.
    """

    name = "regularized_evolution"

    def __init__(
        self,
        *,
        population: int = 100,
        sample: int = 25,
    ) -> None:
        super().__init__(population=population, sample=sample)
