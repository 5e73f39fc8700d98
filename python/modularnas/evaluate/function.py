"""A plain function as an evaluator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from modularnas.errors import EvaluationError

__all__ = ["Function"]


class Function:
    """Evaluates each trial by `f(point)`.

    A study takes a function as it is; this is for wrapping it in another evaluator.

    Args:
        f: `f(point) -> float | dict | mn.Failed | mn.Pruned`.

    Example:
        >>> study = mn.Study(mn.SearchSpace({"n": mn.integer(1, 9)}), mn.search.Random(), objectives={"n": "max"})
        >>> study.optimize(mn.evaluate.Function(lambda point: point["n"]), trials=5, progress=False)
        >>> len(study.trials)
        5
    """

    def __init__(self, f: Callable[[Any], Any]) -> None:
        if not callable(f):
            raise EvaluationError(f"Function is given a {type(f).__name__}; expected a function of a point")
        self.f = f

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """What the function returns for each trial's point, in the same order."""
        return [self.f(trial.point) for trial in trials]
