"""Several scores as one: by the mean of their ranks, or by a majority vote.

Proxies have unlike scales, so what they can agree on is order. Against a fixed sample of the space a candidate is
compared with every reference network: by "rank" the score is the mean over metrics of the share of references that it
beats; by "vote" it is the share of references that it beats in a majority of the metrics (Abdelfattah et al. 2021,
"Zero-Cost Proxies for Lightweight NAS", arXiv 2101.08134, section 3.3, whose vote is of synflow, jacob_cov and snip).
A sample makes the score a function of the candidate alone, whatever was evaluated before; ties count half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from modularnas import _core
from modularnas.errors import EvaluationError
from modularnas.evaluate.candidate import candidates
from modularnas.evaluate.values import metrics_of
from modularnas.outcome import Failed, Pruned

__all__ = ["Ensemble"]


class Ensemble:
    """An evaluator around one that gives several metrics, larger being better, which are joined to one by their order.

    Args:
        evaluator: gives all the metrics, such as `ZeroCost` with several proxies.
        metrics: which ones count; one that is better when smaller as `"-latency_ms"`.
        space: where references are drawn.
        how: `"rank"` or `"vote"`.
        metric: the name of the result, from 0 (beats no reference) to 1.
        n_references: how many points are drawn for comparison; measured before the first trial.
        seed: the seed of the draw.

    Raises:
        EvaluationError: for unknown ways, or no metric.

    Example:
        >>> space = mn.SearchSpace({"a": mn.integer(0, 9), "b": mn.integer(0, 9)})
        >>> each = mn.evaluate.Function(lambda point: {"up": point["a"] + point["b"], "cost": point["b"]})
        >>> both = mn.evaluate.Ensemble(each, ["up", "-cost"], space)
        >>> study = mn.Study(space, "grid", objectives={"score": "max"})
        >>> study.optimize(both, trials=100, progress=False)
        >>> study.best_trial.point["a"], study.trials[0].values.keys() >= {"up", "cost", "score"}
        (9, True)
    """

    def __init__(
        self,
        evaluator: Any,
        metrics: Sequence[str],
        space: _core.SearchSpace,
        *,
        how: Literal["rank", "vote"] = "rank",
        metric: str = "score",
        n_references: int = 64,
        seed: int = 0,
    ) -> None:
        if how not in ("rank", "vote"):
            raise EvaluationError(f"how is {how!r}; expected 'rank' or 'vote'")
        if not metrics or isinstance(metrics, str):
            raise EvaluationError(f"metrics is {metrics!r}; expected a list of names of metrics")
        self.evaluator = evaluator
        self.metrics = [(name.removeprefix("-"), -1.0 if name.startswith("-") else 1.0) for name in metrics]
        self.space = space
        self.how = how
        self.metric = metric
        self.n_references = n_references
        self.seed = seed
        self._references: NDArray[np.float64] | None = None

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The metrics of each trial with the joined one; failures pass through."""
        if self._references is None:
            asked = candidates(self.space.samples(self.n_references, seed=self.seed))
            rows = [self._row(found, one) for one, found in zip(asked, self.evaluator.evaluate(asked), strict=True)]
            known = [row for row in rows if isinstance(row, list)]
            if not known:
                raise EvaluationError(
                    f"none of the {len(rows)} reference networks has all metrics; the first: {rows[0]}"
                )
            self._references = np.array(known)
        outcomes = []
        for trial, outcome in zip(trials, self.evaluator.evaluate(trials), strict=True):
            row = self._row(outcome, trial)
            outcomes.append({**outcome, self.metric: self._joined(np.array(row))} if isinstance(row, list) else row)
        return outcomes

    def _row(self, outcome: Any, trial: Any) -> list[float] | Failed | Pruned:
        values = metrics_of(outcome, trial, "Ensemble")
        if not isinstance(values, Mapping):
            return values
        missing = [name for name, _ in self.metrics if name not in values]
        if missing:
            raise EvaluationError(f"trial {trial.number} has no metric '{missing[0]}'; it has {', '.join(values)}")
        return [sign * values[name] for name, sign in self.metrics]

    def _joined(self, row: NDArray[np.float64]) -> float:
        assert self._references is not None
        wins = np.sign(row - self._references)  # (references, metrics)
        if self.how == "vote":
            wins = np.sign(wins.sum(1))
        return float((wins.mean() + 1) / 2)
