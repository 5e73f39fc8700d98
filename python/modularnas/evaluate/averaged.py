"""The mean over repeated evaluations, such as trainings with several seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modularnas.errors import EvaluationError
from modularnas.evaluate.values import metrics_of

__all__ = ["Averaged"]


class Averaged:
    """Around one evaluator a seed: the mean of every metric, and its sample deviation as `{metric}_std`.

    Args:
        make: `make(seed)` gives an evaluator, such as one with `seed=seed`.
        seeds: how many (0, 1, ...), or which.

    Raises:
        EvaluationError: without a seed.

    Example:
        >>> each = lambda seed: mn.evaluate.Function(lambda point: {"score": point["n"] + seed})
        >>> study = mn.Study(mn.SearchSpace({"n": mn.integer(5, 5)}), "random", objectives={"score": "max"})
        >>> study.optimize(mn.evaluate.Averaged(each, seeds=3), trials=1, progress=False)
        >>> study.trials[0].values
        {'score': 6.0, 'score_std': 1.0}
    """

    def __init__(self, make: Callable[[int], Any], seeds: int | Sequence[int] = 3) -> None:
        self.seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
        if not self.seeds:
            raise EvaluationError(f"seeds is {seeds!r}; expected one or more")
        self.evaluators = [make(seed) for seed in self.seeds]

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """Means and deviations for each trial; the first failure of a trial is its outcome."""
        repeats = zip(*(evaluator.evaluate(trials) for evaluator in self.evaluators), strict=True)
        return [self._mean(trial, outcomes) for trial, outcomes in zip(trials, repeats, strict=True)]

    def _mean(self, trial: Any, outcomes: Sequence[Any]) -> Any:
        rows = []
        for outcome in outcomes:
            values = metrics_of(outcome, trial, "Averaged")
            if not isinstance(values, Mapping):
                return values
            rows.append(values)
        found = {}
        for name in rows[0]:
            column = [row[name] for row in rows]
            found[name] = statistics.fmean(column)
            if len(column) > 1:
                found[f"{name}_std"] = statistics.stdev(column)
        return found
