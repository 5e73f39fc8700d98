"""Metrics on one scale: in units of their spread over a sample of the space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from modularnas import _core
from modularnas.errors import EvaluationError
from modularnas.evaluate.candidate import candidates
from modularnas.evaluate.values import metrics_of

__all__ = ["Normalised"]


class Normalised:
    """Around another evaluator: each metric as `{metric}_normalised` besides itself.

    The scale is measured on random points before the first trial, so that a value means the same all along.

    Args:
        evaluator: the evaluator.
        space: where points for the scale are drawn.
        how: `"standard"`: less the mean, over the standard deviation; `"range"`: 0 at the least and 1 at the largest of
            the sample.
        n_points: how many points.
        seed: the seed of the draw.

    Raises:
        EvaluationError: for another way, or if no point of the sample could be evaluated.

    Example:
        >>> space = mn.SearchSpace({"n": mn.integer(0, 9)})
        >>> each = mn.evaluate.Function(lambda point: {"macs": 100 * point["n"]})
        >>> study = mn.Study(space, "grid", objectives={"macs_normalised": "max"})
        >>> study.optimize(mn.evaluate.Normalised(each, space, how="range", n_points=64), trials=10, progress=False)
        >>> study.best_trial.values
        {'macs_normalised': 1.0, 'macs': 900.0}
    """

    def __init__(
        self,
        evaluator: Any,
        space: _core.SearchSpace,
        *,
        how: Literal["standard", "range"] = "standard",
        n_points: int = 64,
        seed: int = 0,
    ) -> None:
        if how not in ("standard", "range"):
            raise EvaluationError(f"how is {how!r}; expected 'standard' or 'range'")
        self.evaluator = evaluator
        self.space = space
        self.how = how
        self.n_points = n_points
        self.seed = seed
        self._scales: dict[str, tuple[float, float]] | None = None

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The metrics of each trial, as they are and normalised; failures pass through."""
        scales = self._measured()
        outcomes = []
        for trial, outcome in zip(trials, self.evaluator.evaluate(trials), strict=True):
            values = metrics_of(outcome, trial, "Normalised")
            if isinstance(values, Mapping):
                known = {name: scales[name] for name in values if name in scales}
                scaled = {
                    f"{name}_normalised": (values[name] - origin) / unit for name, (origin, unit) in known.items()
                }
                values = {**values, **scaled}
            outcomes.append(values)
        return outcomes

    def _measured(self) -> dict[str, tuple[float, float]]:
        """The origin and unit of every metric."""
        if self._scales is None:
            asked = candidates(self.space.samples(self.n_points, seed=self.seed))
            found = [
                metrics_of(outcome, one, "Normalised")
                for one, outcome in zip(asked, self.evaluator.evaluate(asked), strict=True)
            ]
            rows = [values for values in found if isinstance(values, Mapping)]
            if not rows:
                raise EvaluationError(
                    f"none of {len(asked)} points could be evaluated for a scale; the first: {found[0]}"
                )
            self._scales = {}
            for name in rows[0]:
                column = np.array([row[name] for row in rows])
                standard = self.how == "standard"
                origin, unit = (column.mean(), column.std()) if standard else (column.min(), np.ptp(column))
                self._scales[name] = (float(origin), float(unit) or 1.0)
        return self._scales
