"""A predictor: what a point will score, learnt from finished trials.

The models are those of `src/predict/` (Gaussian process, random forest, boosted trees, networks, ridge regression, an
ensemble), fitted in the native half to the normal scores of the values (Salinas et al. 2020, arXiv 1909.13595):
accuracies have a long tail of failures, which would drown all differences that matter. White et al. 2021, "How
Powerful are Performance Predictors in Neural Architecture Search?" (arXiv 2104.01177) compare such models. Before a
predictor is used it says how far it ranks points that it has not seen, by cross-validation.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modularnas import _core
from modularnas.errors import EvaluationError
from modularnas.evaluate.encoding import Graph, cell_edges, encoding_of
from modularnas.evaluate.rank_report import RankReport, rank_report

__all__ = ["Predictor"]

_KINDS = ("gp", "forest", "boosting", "mlp", "linear", "ensemble")


class Predictor:
    """Predicts the metric of points, with uncertainty; an evaluator once it is fitted.

    Args:
        space: the space of the points.
        kind: `"gp"` (few trials, honest uncertainty, cubic in their number), `"forest"`, `"boosting"`, `"mlp"`,
            `"linear"` or `"ensemble"` (of the first three).
        encoding: `"one_hot"`, `"adjacency"`, `"path"`, `"costs"`, a function of points that gives an array
            (points, columns), or a list of these to stand side by side.
        graph: for adjacency and path: from a point to its edges (source, target, operation); the default reads
            decisions named as those of the cell benchmarks.
        metric: which metric of trials is learnt.
        folds: of the cross-validation; 0: none.
        min_kendall: the cross-validated Kendall's tau that `evaluate` insists on.
        by_rank: whether the normal scores of the values are learnt instead of the values.
        seed: the seed of models and folds.

    Attributes:
        report: the cross-validated `RankReport`; None before `fit`, without folds or with fewer than two values a fold.

    Raises:
        EvaluationError: for unknown kinds and encodings.

    Example:
        >>> space = mn.SearchSpace({name: mn.choice(range(4)) for name in "abc"})
        >>> points = space.samples(40, seed=0)
        >>> predictor = mn.evaluate.Predictor(space, "gp").fit(points, [sum(point.values()) for point in points])
        >>> predictor.report.kendall > 0.8
        True
        >>> mean, std = predictor.predict(space.samples(3, seed=1))
        >>> mean.shape, bool((std >= 0).all())
        ((3,), True)
    """

    def __init__(
        self,
        space: _core.SearchSpace,
        kind: str = "ensemble",
        *,
        encoding: Any = "one_hot",
        graph: Graph = cell_edges,
        metric: str = "accuracy",
        folds: int = 5,
        min_kendall: float | None = None,
        by_rank: bool = True,
        seed: int = 0,
    ) -> None:
        if kind not in _KINDS:
            near = difflib.get_close_matches(str(kind), _KINDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(_KINDS)}"
            raise EvaluationError(f"there is no predictor {kind!r}; {hint}")
        self.space = space
        self.kind = kind
        self.encoding = encoding_of(encoding, space, graph)
        self.metric = metric
        self.folds = folds
        self.min_kendall = min_kendall
        self.by_rank = by_rank
        self.seed = seed
        self.report: RankReport | None = None
        self._fitted: _core.Surrogate | None = None

    def fit(self, points: Sequence[Any], values: ArrayLike | None = None) -> Predictor:
        """Learns from points and their values, or from trials; returns itself.

        Args:
            points: points, or trials; of these the complete ones with the metric count, at full fidelity if there are
                some.
            values: one finite value a point; None where trials are given.

        Raises:
            EvaluationError: without anything to learn from, for unlike lengths, or values that are not finite.
        """
        if values is None:
            done = [
                trial for trial in points if getattr(trial, "state", None) == "complete" and self.metric in trial.values
            ]
            highest = max((trial.fidelity for trial in done), default=1.0)
            done = [trial for trial in done if trial.fidelity == highest]
            points, values = [trial.point for trial in done], [trial.values[self.metric] for trial in done]
        points, targets = list(points), np.ascontiguousarray(values, np.float64)
        if len(points) != len(targets) or not len(points) or not np.isfinite(targets).all():
            finite = int(np.isfinite(targets).sum())
            raise EvaluationError(
                f"the predictor is given {len(points)} points and {len(targets)} values, {finite} of them finite; "
                f"expected a finite value of '{self.metric}' for each, and at least one"
            )
        self.report = self._cross_validated(points, targets)
        self._fitted = self._learn(points, targets)
        return self

    def predict(self, points: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The expected value of each point and its standard deviation, arrays (n,).

        Raises:
            EvaluationError: before `fit`.
        """
        if self._fitted is None:
            raise EvaluationError("the predictor has learnt nothing yet; call fit(points, values) first")
        return self._fitted.predict(np.ascontiguousarray(self.encoding.rows(points)))

    def evaluate(self, trials: Sequence[Any]) -> list[dict[str, float]]:
        """For each trial the metric and `{metric}_std`.

        Raises:
            EvaluationError: if the cross-validated Kendall's tau is below `min_kendall`.
        """
        if self.min_kendall is not None and not (self.report and self.report.kendall >= self.min_kendall):
            found = "unknown" if self.report is None else f"{self.report.kendall:.2f}"
            raise EvaluationError(
                f"Kendall's tau of this predictor is {found} by cross-validation, below {self.min_kendall}; fit it to "
                "more trials, or try another kind or encoding"
            )
        means, stds = self.predict([trial.point for trial in trials])
        return [
            {self.metric: float(mean), f"{self.metric}_std": float(std)} for mean, std in zip(means, stds, strict=True)
        ]

    def _learn(self, points: Sequence[Any], targets: NDArray[np.float64]) -> _core.Surrogate:
        self.encoding.learn(points)
        rows = np.ascontiguousarray(self.encoding.rows(points))
        return _core.fit_surrogate(self.kind, rows, self.encoding.columns, targets, self.by_rank, self.seed)

    def _cross_validated(self, points: Sequence[Any], targets: NDArray[np.float64]) -> RankReport | None:
        if self.folds < 2 or len(points) < 2 * self.folds:
            return None
        fold = np.random.default_rng(self.seed).permutation(len(points)) % self.folds
        found = np.empty(len(points))
        for k in range(self.folds):
            seen, unseen = np.flatnonzero(fold != k).tolist(), np.flatnonzero(fold == k).tolist()
            self._fitted = self._learn([points[i] for i in seen], targets[seen])
            found[unseen] = self.predict([points[i] for i in unseen])[0]
        return rank_report(found, targets)
