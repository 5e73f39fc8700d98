"""How far to trust scores: do they put candidates in the order of their true quality?

A search uses scores only to compare, so rank correlation with a trusted reference is what matters (Yu et al. 2020,
"Evaluating the Search Phase of Neural Architecture Search", arXiv 1902.08142), and what it costs to take the best by
score. The arithmetic and the sources are in `src/evaluate/rank.rs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modularnas import _core
from modularnas.errors import EvaluationError, MissingExtraError
from modularnas.evaluate.candidate import candidates
from modularnas.evaluate.values import metrics_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RankReport", "compare_evaluators", "rank_report"]

_Interval = tuple[float, float]


@dataclass(frozen=True)
class RankReport:
    """How far scores rank like a reference.

    Attributes:
        kendall: Kendall's tau-b, -1 to 1; NaN if one side has only ties.
        kendall_interval: its bootstrap interval.
        spearman: Spearman's rho, -1 to 1.
        spearman_interval: its bootstrap interval.
        regret: the best reference less the best among the `top` candidates by score, 0 or more.
        regret_interval: its bootstrap interval.
        n: the number of candidates.
        top: how many were taken for the regret.
        confidence: of the intervals.
        scores: what was given; larger is better.
        reference: what was given; larger is better.
    """

    kendall: float
    kendall_interval: _Interval
    spearman: float
    spearman_interval: _Interval
    regret: float
    regret_interval: _Interval
    n: int
    top: int
    confidence: float
    scores: NDArray[np.float64] = field(repr=False)
    reference: NDArray[np.float64] = field(repr=False)

    def __str__(self) -> str:
        def shown(name: str, value: float, interval: _Interval) -> str:
            return f"{name} {value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"

        parts = [
            shown("Kendall", self.kendall, self.kendall_interval),
            shown("Spearman", self.spearman, self.spearman_interval),
            shown(f"regret of the top {self.top}", self.regret, self.regret_interval),
        ]
        return f"{', '.join(parts)} ({self.n} candidates, {self.confidence:.0%} bootstrap intervals)"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the ranks by score against those by reference, best at the top right.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ModuleNotFoundError as error:
            raise MissingExtraError('plot needs matplotlib: pip install "modularnas[viz]"') from error
        if ax is None:
            ax = plt.subplots(layout="constrained")[1]
        by_score, by_reference = (
            values.argsort(kind="stable").argsort() + 1 for values in (self.scores, self.reference)
        )
        taken = by_score > self.n - self.top
        ax.scatter(by_score[~taken], by_reference[~taken], s=12, alpha=0.6, linewidths=0)
        ax.scatter(by_score[taken], by_reference[taken], s=18, label=f"the top {self.top} by score")
        ax.plot([1, self.n], [1, self.n], color="0.7", linewidth=1, zorder=0)
        title = f"Kendall {self.kendall:.2f} [{self.kendall_interval[0]:.2f}, {self.kendall_interval[1]:.2f}]"
        ax.set(xlabel="rank by score", ylabel="rank by reference", title=title)
        ax.legend()
        return ax


def rank_report(
    scores: ArrayLike,
    reference: ArrayLike,
    *,
    top: int | None = None,
    directions: tuple[str, str] = ("max", "max"),
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> RankReport:
    """How far scores rank like a reference.

    Args:
        scores: one a candidate; may be infinite.
        reference: their true quality, in the same order.
        top: how many candidates are taken by score for the regret. None: ten, of few a quarter.
        directions: which way scores and reference are better.
        resamples: bootstrap draws for the intervals.
        confidence: of the intervals, above 0 and below 1.
        seed: the seed of the draws.

    Raises:
        EvaluationError: for unlike lengths, fewer than two candidates, NaN, or settings out of range.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.normal(size=100)
        >>> report = mn.evaluate.rank_report(truth + rng.normal(size=100), truth)
        >>> report.kendall_interval[0] < report.kendall < report.kendall_interval[1]
        True
        >>> mn.evaluate.rank_report([1, 2, 3, 4], [10, 20, 40, 30], top=1).regret
        10.0
    """
    if not {*directions} <= {"min", "max"} or len(directions) != 2:
        raise EvaluationError(f'directions is {directions!r}; expected a pair of "min" or "max"')
    if not 0 < confidence < 1:
        raise EvaluationError(f"confidence is {confidence}; expected above 0 and below 1")
    if (top is not None and top < 1) or resamples < 1:
        raise EvaluationError(f"top is {top} and resamples {resamples}; expected 1 or more of both")
    sides: list[NDArray[np.float64]] = []
    for name, values, direction in zip(("scores", "reference"), (scores, reference), directions, strict=True):
        try:
            side = np.ascontiguousarray(values, np.float64)
        except (TypeError, ValueError) as error:
            raise EvaluationError(f"{name} is no list of numbers ({error})") from error
        if side.ndim != 1:
            raise EvaluationError(f"{name} has shape {side.shape}; expected (candidates,)")
        sides.append(-side if direction == "min" else side)
    given, truth = sides
    top = max(1, min(10, len(given) // 4)) if top is None else min(top, len(given))
    found, intervals = _core.rank_statistics(given, truth, top, resamples, confidence, seed)
    names = ("kendall", "spearman", "regret")
    fields: dict[str, Any] = dict(zip(names, found, strict=True))
    fields |= {f"{name}_interval": interval for name, interval in zip(names, intervals, strict=True)}
    return RankReport(n=len(given), top=top, confidence=confidence, scores=given, reference=truth, **fields)


def compare_evaluators(
    evaluator: Any,
    reference: Any,
    space: _core.SearchSpace,
    *,
    metric: str = "accuracy",
    reference_metric: str | None = None,
    n: int = 20,
    seed: int = 0,
    **settings: Any,
) -> RankReport:
    """How far one evaluator ranks like another, on a sample of a space.

    For a supernet: `evaluator` is its `SharedWeights`, `reference` a `Standalone` that trains the same sub-networks
    alone. Candidates that one of them fails on are left out.

    Args:
        evaluator: what is to be trusted.
        reference: what is trusted.
        space: where candidates are drawn.
        metric: the metric of the evaluator.
        reference_metric: the one of the reference; None: the same.
        n: how many candidates, all different.
        seed: the seed of the draw.
        **settings: those of `rank_report`.

    Raises:
        EvaluationError: if fewer than two candidates have both metrics.

    Example:
        >>> space = mn.SearchSpace({"n": mn.integer(1, 99)})
        >>> rough = mn.evaluate.Function(lambda point: {"accuracy": point["n"] // 10})
        >>> exact = mn.evaluate.Function(lambda point: {"accuracy": point["n"]})
        >>> mn.evaluate.compare_evaluators(rough, exact, space).kendall > 0.9
        True
    """
    points = list(dict.fromkeys(space.samples(4 * n, seed=seed)))[:n]
    asked = candidates(points)
    pairs = []
    for one, found, truth in zip(asked, evaluator.evaluate(asked), reference.evaluate(asked), strict=True):
        row, column = metrics_of(found, one, "compare_evaluators"), metrics_of(truth, one, "compare_evaluators")
        wanted = reference_metric or metric
        if isinstance(row, dict) and isinstance(column, dict) and metric in row and wanted in column:
            pairs.append((row[metric], column[wanted]))
    if len(pairs) < 2:
        raise EvaluationError(
            f"{len(pairs)} of {len(asked)} candidates have '{metric}' by the evaluator and "
            f"'{reference_metric or metric}' by the reference; expected two or more"
        )
    scores, truths = zip(*pairs, strict=True)
    return rank_report(scores, truths, **settings)


def mean_interval(
    values: Sequence[float], confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The bootstrap interval of a mean (percentiles; Efron 1979)."""
    column = np.asarray(values, np.float64)
    rows = np.random.default_rng(seed).integers(0, len(column), (resamples, len(column)))
    low, high = np.quantile(column[rows].mean(1), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
