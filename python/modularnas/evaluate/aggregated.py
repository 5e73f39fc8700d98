"""Several metrics as one: a weighted sum, or the product with soft limits of MnasNet.

Tan et al. 2019, "MnasNet: Platform-Aware Neural Architecture Search for Mobile" (arXiv 1807.11626), equations 2 and
3: reward = accuracy * (latency / target) ** w, where w is `alpha` up to the target and `beta` above it; -0.07 for
both in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from modularnas.errors import EvaluationError
from modularnas.evaluate.values import metrics_of
from modularnas.outcome import Failed

__all__ = ["Product", "WeightedSum"]

#: (target, exponent) or (target, exponent up to the target, exponent above it).
_Limit: TypeAlias = tuple[float, float] | tuple[float, float, float]


class _Aggregated:
    """Around another evaluator: one more metric, a function of the others."""

    def __init__(self, evaluator: Any, names: Sequence[str], metric: str) -> None:
        self.evaluator = evaluator
        self.names = list(names)
        self.metric = metric

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The metrics of each trial with the joined one; failures pass through."""
        outcomes = []
        for trial, outcome in zip(trials, self.evaluator.evaluate(trials), strict=True):
            values = metrics_of(outcome, trial, type(self).__name__)
            if isinstance(values, Mapping):
                missing = [name for name in self.names if name not in values]
                if missing:
                    raise EvaluationError(
                        f"trial {trial.number} has no metric '{missing[0]}'; it has {', '.join(values)}"
                    )
                joined = self._join(values)
                reason = f"trial {trial.number}: {type(self).__name__} of {dict(values)} is {joined}"
                values = {**values, self.metric: joined} if math.isfinite(joined) else Failed(reason)
            outcomes.append(values)
        return outcomes

    def _join(self, values: Mapping[str, float]) -> float:
        raise NotImplementedError


class WeightedSum(_Aggregated):
    """The sum of metrics times weights.

    Args:
        evaluator: gives the metrics.
        weights: metric to weight.
        metric: the name of the sum.

    Example:
        >>> each = mn.evaluate.Function(lambda point: {"accuracy": 0.9, "latency_ms": point["n"]})
        >>> study = mn.Study(mn.SearchSpace({"n": mn.integer(10, 10)}), "random", objectives={"reward": "max"})
        >>> sum_of = mn.evaluate.WeightedSum(each, {"accuracy": 1.0, "latency_ms": -0.01})
        >>> study.optimize(sum_of, trials=1, progress=False)
        >>> round(study.best_trial.values["reward"], 3)
        0.8
    """

    def __init__(self, evaluator: Any, weights: Mapping[str, float], metric: str = "reward") -> None:
        super().__init__(evaluator, list(weights), metric)
        self.weights = dict(weights)

    def _join(self, values: Mapping[str, float]) -> float:
        return sum(weight * values[name] for name, weight in self.weights.items())


class Product(_Aggregated):
    """The product of a metric and soft limits on others, as in MnasNet.

    Args:
        evaluator: gives the metrics.
        of: the metric that is to be large.
        limits: metric to (target, exponent), or (target, exponent up to the target, exponent above it).
        metric: the name of the product.

    Raises:
        EvaluationError: for a target that is not above 0.

    Example:
        >>> each = mn.evaluate.Function(lambda point: {"accuracy": 0.9, "latency_ms": point["n"]})
        >>> study = mn.Study(mn.SearchSpace({"n": mn.integer(160, 160)}), "random", objectives={"reward": "max"})
        >>> product = mn.evaluate.Product(each, "accuracy", {"latency_ms": (80, -0.07)})
        >>> study.optimize(product, trials=1, progress=False)
        >>> round(study.best_trial.values["reward"], 3)
        0.857
    """

    def __init__(self, evaluator: Any, of: str, limits: Mapping[str, _Limit], metric: str = "reward") -> None:
        super().__init__(evaluator, [of, *limits], metric)
        for name, limit in limits.items():
            if len(limit) not in (2, 3) or not limit[0] > 0:
                raise EvaluationError(f"limit of '{name}' is {limit!r}; expected (target above 0, exponent)")
        self.of = of
        self.limits = dict(limits)

    def _join(self, values: Mapping[str, float]) -> float:
        product = values[self.of]
        for name, (target, alpha, *rest) in self.limits.items():
            ratio = values[name] / target
            exponent = rest[0] if rest and ratio > 1 else alpha
            if ratio <= 0:
                return math.nan
            product *= ratio**exponent
        return product
