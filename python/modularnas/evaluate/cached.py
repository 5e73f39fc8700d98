"""An evaluator that remembers: what was measured is not measured again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from modularnas.outcome import Failed, Pruned

__all__ = ["Cached"]


class Cached:
    """Around another evaluator: each architecture is evaluated once a fidelity.

    For evaluators whose result does not change. Within a batch too, equal trials are evaluated once. Trials that failed
    or were pruned are not remembered.

    Args:
        evaluator: the evaluator.
        canonical: `canonical(point)`: what points of the same architecture have in common; None: the point itself.

    Example:
        >>> calls = []
        >>> each = mn.evaluate.Function(lambda point: {"n": calls.append(point) or point["n"]})
        >>> study = mn.Study(mn.SearchSpace({"n": mn.integer(1, 3)}), "random", objectives={"n": "max"})
        >>> study.optimize(mn.evaluate.Cached(each), trials=20, progress=False)
        >>> len(calls)
        3
    """

    def __init__(self, evaluator: Any, canonical: Callable[[Any], Hashable] | None = None) -> None:
        self.evaluator = evaluator
        self.canonical = canonical or (lambda point: point)
        self._known: dict[Hashable, Any] = {}

    def forget(self) -> None:
        """Forgets everything."""
        self._known.clear()

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The outcome of each trial, in the same order."""
        keys = [(self.canonical(trial.point), trial.fidelity) for trial in trials]
        new: dict[Hashable, Any] = {}
        for key, trial in zip(keys, trials, strict=True):
            if key not in self._known:
                new.setdefault(key, trial)
        outcomes = dict(zip(new, self.evaluator.evaluate(list(new.values())) if new else [], strict=True))
        kept = {key: outcome for key, outcome in outcomes.items() if not isinstance(outcome, (Failed, Pruned))}
        self._known.update(kept)
        found = [self._known.get(key, outcomes.get(key)) for key in keys]
        return [dict(outcome) if isinstance(outcome, Mapping) else outcome for outcome in found]
