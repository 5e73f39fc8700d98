"""Search algorithms (the paper's Ω): what to try next.

The classes in `algorithms.py` are written by `tests/search/write_algorithms.py` from the documentation and defaults of
the native half; a test fails when they are stale. `human.py` is one in Python, `model_based.py` adds
regressors of the user's; `gradient/` learns architecture parameters by gradients. The room knows the space and the
relaxations of `nn`; no evaluator, no transformation.
"""

from __future__ import annotations

from typing import Any

from modularnas import _core
from modularnas.search import algorithms, gradient
from modularnas.search.algorithm import Algorithm
from modularnas.search.algorithms import *  # noqa: F403
from modularnas.search.exact import Solution, exact, exact_sweep
from modularnas.search.gradient import *  # noqa: F403
from modularnas.search.hill_climbing import HillClimbing
from modularnas.search.human import Human
from modularnas.search.model_based import ModelBased

__all__ = [
    "Algorithm",
    "HillClimbing",
    "Human",
    "Solution",
    "create",
    "exact",
    "exact_sweep",
    "names",
    *algorithms.__all__,
    *gradient.__all__,
]

_CLASSES: dict[str, type[Algorithm]] = {
    cls.name: cls for cls in (*(getattr(algorithms, name) for name in algorithms.__all__), Human, ModelBased)
}


def names() -> list[str]:
    """The names of all registered search algorithms, sorted."""
    return sorted(_CLASSES)


def create(name: str, **settings: Any) -> Algorithm:
    """The search algorithm of a name.

    Args:
        name: one of `names()`.
        **settings: its settings; those left out have their defaults.

    Raises:
        SearchError: for an unknown name (with near matches) or setting.

    Example:
        >>> mn.search.create("regularized_evolution", population=20)
        RegularizedEvolution(population=20, sample=25)
    """
    if name != Human.name:
        named = {key: value for key, value in settings.items() if not (key == "model" and hasattr(value, "fit"))}
        _core.complete_settings(name, named)  # raises for an unknown name or setting, with near matches
    return _CLASSES[name](**settings)
