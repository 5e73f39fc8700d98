"""A function of many points at once as an evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modularnas.errors import EvaluationError

__all__ = ["Vectorized"]


class Vectorized:
    """Evaluates a batch of trials by one call of `f(indices)`, without an object a trial.

    For objectives that NumPy computes; `study.optimize(..., batch=1000)` says how many points it gets at once. The
    space must have no real decisions, and every evaluation is a full one.

    Args:
        f: takes an int32 array (n, decisions) as `space.indices` makes it, -1 where a decision is inactive; returns
            metric to array of n numbers, or one such array if the study has one objective. NaN: the trial failed.
            `supernet.cost` and `bench.query` are such functions.

    Example:
        >>> space = mn.SearchSpace({f"d{i}": mn.choice(range(5)) for i in range(6)})
        >>> study = mn.Study(space, mn.search.Nsga2(population=100), objectives={"sum": "max", "first": "min"})
        >>> measure = mn.evaluate.Vectorized(lambda indices: {"sum": indices.sum(1), "first": indices[:, 0]})
        >>> study.optimize(measure, trials=1000, batch=100, progress=False)
        >>> len(study.trials)
        1000
    """

    def __init__(self, f: Callable[[NDArray[np.int32]], Any]) -> None:
        if not callable(f):
            raise EvaluationError(f"Vectorized is given a {type(f).__name__}; expected a function of an int32 array")
        self.f = f

    def evaluate_indices(self, indices: NDArray[np.int32]) -> Any:
        """What the function returns; a study calls this one."""
        return self.f(indices)

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The evaluator's protocol, for other evaluators around this one."""
        if not trials:
            return []
        points = [trial.point for trial in trials]
        values = self.f(points[0].space.indices(points))
        if not isinstance(values, Mapping):
            return [float(value) for value in values]
        return [{name: float(column[i]) for name, column in values.items()} for i in range(len(points))]
