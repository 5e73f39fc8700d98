"""Several evaluators as one: the metrics of each, such as accuracy, latency and energy, or one score a data set."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from modularnas.errors import EvaluationError
from modularnas.evaluate.values import metrics_of

__all__ = ["Joined"]


class Joined:
    """Evaluates every trial by several evaluators.

    Args:
        evaluators: those that give different metrics, which keep their names.
        **named: those that give the same metrics on other inputs or data sets: `cifar=...` makes `cifar_accuracy`, and
            `accuracy` is the mean over all named ones.

    A trial that fails in one of them fails, and is not given to the ones after it.

    Raises:
        EvaluationError: if two give the same metric, naming the trial.

    Example:
        >>> small, large = (mn.evaluate.Function(lambda p, k=k: {"score": p["n"] * k}) for k in (1, 3))
        >>> size = mn.evaluate.Function(lambda p: {"size": p["n"]})
        >>> space, objectives = mn.SearchSpace({"n": mn.integer(2, 2)}), {"score": "max", "size": "min"}
        >>> study = mn.Study(space, "random", objectives)
        >>> study.optimize(mn.evaluate.Joined(size, small=small, large=large), trials=1, progress=False)
        >>> study.trials[0].values == {"size": 2.0, "small_score": 2.0, "large_score": 6.0, "score": 4.0}
        True
    """

    def __init__(self, *evaluators: Any, **named: Any) -> None:
        self.evaluators = [("", evaluator) for evaluator in evaluators] + list(named.items())
        if not self.evaluators:
            raise EvaluationError("Joined is given no evaluator; expected one or more")

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The metrics of each trial from all evaluators; the first failure of a trial is its outcome."""
        rows: list[Any] = [{} for _ in trials]
        each: list[dict[str, list[float]]] = [{} for _ in trials]
        for prefix, evaluator in self.evaluators:
            left = [i for i, row in enumerate(rows) if isinstance(row, dict)]
            outcomes = evaluator.evaluate([trials[i] for i in left]) if left else []
            for i, outcome in zip(left, outcomes, strict=True):
                values = metrics_of(outcome, trials[i], "Joined")
                if not isinstance(values, Mapping):
                    rows[i] = values
                    continue
                for name, value in values.items():
                    whole = f"{prefix}_{name}" if prefix else name
                    if whole in rows[i]:
                        raise EvaluationError(
                            f"trial {trials[i].number}: two evaluators give '{whole}'; name them, as in "
                            "Joined(first=..., second=...)"
                        )
                    rows[i][whole] = value
                    if prefix:
                        each[i].setdefault(name, []).append(value)
        for row, columns in zip(rows, each, strict=True):
            if isinstance(row, dict):
                for name, column in columns.items():
                    row.setdefault(name, statistics.fmean(column))
        return rows
