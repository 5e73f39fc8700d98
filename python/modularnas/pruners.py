"""Pruners: which running trials to end early, by what they report.

An evaluator calls `trial.report(step, value)` on the way and asks `trial.should_prune()`; `mn.Study(..., pruner=...)`
says by which rule. The rules are the native half's (`src/study/pruner/`, one file each with its paper); these are their
settings. They have no memory of their own: after a restart, and in every process that works on a study, the answers are
the same.

Trials are compared by what they reported: by one objective in its order, by several by non-dominated sorting. What is
reported of a constrained metric counts first: a trial that keeps the constraints is better than one that does not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from modularnas import _core

__all__ = ["Hyperband", "Median", "Patience", "Percentile", "Pruner", "SuccessiveHalving", "Threshold"]


class Pruner:
    """The settings of a rule of the native half."""

    name: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]:
        """The rule's name and its settings, as the native half reads them."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]

    def __post_init__(self) -> None:
        _core.check_pruner(self.settings)


@dataclass(frozen=True)
class Percentile(Pruner):
    """Ends a trial that is not among the best `percentile` per cent of the complete ones at its step.

    The rule of Golovin et al. 2017 ("Google Vizier", KDD), section 3.2.2, for any percentile: the trial's best report
    so far against the reports of the others at this step.

    Args:
        percentile: how many per cent go on, above 0 and below 100.
        startup_trials: how many trials must be complete before any is pruned.
        warmup_steps: no trial is pruned before this step.
        interval_steps: a trial is looked at once in so many steps.
        min_trials: how many others must have reported at the step.

    Raises:
        StudyError: for a setting out of range.

    Example:
        >>> mn.pruners.Percentile(25.0, warmup_steps=5)
        Percentile(percentile=25.0, startup_trials=5, warmup_steps=5, interval_steps=1, min_trials=1)
    """

    name = "percentile"
    percentile: float
    startup_trials: int = 5
    warmup_steps: int = 0
    interval_steps: int = 1
    min_trials: int = 1


@dataclass(frozen=True)
class Median(Pruner):
    """Ends a trial that is worse than the median of the complete ones at its step (Golovin et al. 2017, section 3.2.2).

    Args:
        startup_trials: how many trials must be complete before any is pruned.
        warmup_steps: no trial is pruned before this step.
        interval_steps: a trial is looked at once in so many steps.
        min_trials: how many others must have reported at the step.

    Raises:
        StudyError: for a setting out of range.

    Example:
        >>> class Train:
        ...     def evaluate(self, trials):
        ...         return [self.fit(trial) for trial in trials]
        ...
        ...     def fit(self, trial):
        ...         for epoch in range(10):
        ...             loss = trial.point["lr"] + 1 / (epoch + 1)
        ...             trial.report(epoch, loss)
        ...             if trial.should_prune():
        ...                 return mn.Pruned(loss)
        ...         return loss
        >>> space = mn.SearchSpace({"lr": mn.real(0, 1)})
        >>> study = mn.Study(space, mn.search.Random(), {"loss": "min"}, pruner=mn.pruners.Median())
        >>> study.optimize(Train(), trials=40, progress=False)
        >>> sorted({trial.state for trial in study.trials})
        ['complete', 'pruned']
    """

    name = "percentile"
    startup_trials: int = 5
    warmup_steps: int = 0
    interval_steps: int = 1
    min_trials: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """Those of `Percentile` at 50."""
        return {"percentile": 50.0, **super().settings}


@dataclass(frozen=True)
class Patience(Pruner):
    """Ends a trial whose last `patience` reports brought nothing better than those before.

    Args:
        patience: how many reports without improvement are borne, 1 or more.
        min_delta: the least that counts as improvement.
        pruner: another pruner that must agree.

    Raises:
        StudyError: for a setting out of range.

    Example:
        >>> mn.pruners.Patience(3, pruner=mn.pruners.Median()).settings["pruner"]["name"]
        'percentile'
    """

    name = "patience"
    patience: int
    min_delta: float = 0.0
    pruner: Pruner | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """With those of the other pruner inside."""
        inner = None if self.pruner is None else self.pruner.settings
        return {"name": self.name, "patience": self.patience, "min_delta": self.min_delta, "pruner": inner}


@dataclass(frozen=True)
class Threshold(Pruner):
    """Ends a trial as soon as a reported metric is out of bounds or not a number.

    Args:
        lower: the least value that goes on.
        upper: the greatest value that goes on.
        metric: an objective or a constrained metric; None: the first objective.
        warmup_steps: no trial is pruned before this step.
        interval_steps: a trial is looked at once in so many steps.

    Raises:
        StudyError: without a bound, or for a setting out of range.

    Example:
        >>> mn.pruners.Threshold(upper=10.0).upper
        10.0
    """

    name = "threshold"
    lower: float | None = None
    upper: float | None = None
    metric: str | None = None
    warmup_steps: int = 0
    interval_steps: int = 1


@dataclass(frozen=True)
class SuccessiveHalving(Pruner):
    """Lets one of `eta` trials pass each rung (asynchronous successive halving, Li et al. 2020, arXiv 1810.05934).

    Args:
        min_steps: the step of the first rung, 1 or more; the others are at `eta` times the one before.
        eta: one of so many goes on, for so many times as many steps; 2 or more.

    Raises:
        StudyError: for a setting out of range.

    Example:
        >>> mn.pruners.SuccessiveHalving(min_steps=2)
        SuccessiveHalving(min_steps=2, eta=3)
    """

    name = "successive_halving"
    min_steps: int = 1
    eta: int = 3


@dataclass(frozen=True)
class Hyperband(Pruner):
    """Successive halving in brackets, the later of which prune later (Li et al. 2018, arXiv 1603.06560).

    Args:
        max_steps: the step of a whole evaluation.
        min_steps: the step of the first rung of the first bracket, 1 or more.
        eta: one of so many goes on, for so many times as many steps; 2 or more.

    Raises:
        StudyError: for a setting out of range.

    Example:
        >>> mn.pruners.Hyperband(max_steps=27)
        Hyperband(max_steps=27, min_steps=1, eta=3)
    """

    name = "hyperband"
    max_steps: int
    min_steps: int = 1
    eta: int = 3
