"""Studies to Optuna and from it: for its dashboard, its analyses, and whoever changes horses.

Its storage is named by a URL (`sqlite:///file.db`, or any that SQLAlchemy knows) or by the path of a journal file
(`journal.log`). Decisions become parameters of the same name; values that are no text, number or truth value are
written as JSON.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from modularnas import _core
from modularnas.errors import MissingExtraError, StudyError
from modularnas.outcome import Failed, Pruned

if TYPE_CHECKING:
    from modularnas.study.study import Study

__all__ = ["Import", "read", "write"]

_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError('this needs Optuna: pip install "modularnas[optuna]"') from error
    return optuna


def _storage(optuna: Any, url: str) -> Any:
    if "://" in url:
        return url
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(url))


def write(study: Study, url: str, name: str) -> None:
    """Writes the finished trials to a new study of Optuna.

    Its further values, the reports of several metrics and the reasons of failures are attributes. Optuna knows one
    value a step and only for one objective: that of the first objective, in studies with one.
    """
    optuna = _optuna()
    directions = ["maximize" if way == "max" else "minimize" for way in study.objectives.values()]
    try:
        theirs = optuna.create_study(study_name=name, storage=_storage(optuna, url), directions=directions)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise StudyError(f"'{url}' has a study '{name}' already; give another name") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        theirs.set_metric_names(list(study.objectives))
    theirs.set_user_attr("modularnas", {"algorithm": str(study.algorithm), "seed": study.seed})
    distributions = {decision.name: _distribution(optuna, decision) for decision in study.space.decisions}
    frozen = [_frozen(optuna, study, trial, distributions) for trial in study.trials if trial.state in _STATES]
    theirs.add_trials(frozen)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)


def _distribution(optuna: Any, decision: _core.Decision) -> Any:
    kinds = optuna.distributions
    if decision.kind == "real":
        return kinds.FloatDistribution(decision.low, decision.high, log=decision.log)
    if decision.kind == "integer":
        low, high, step = decision.low, decision.high, decision.step
        return kinds.IntDistribution(low, high, step=step)
    if decision.kind == "subset":
        # Its values are too many to list before they are met; those that occur are listed when a trial has them.
        return None
    return kinds.CategoricalDistribution([_plain(choice) for choice in decision.choices or ()])


def _frozen(optuna: Any, study: Study, trial: _core.Trial, distributions: dict[str, Any]) -> Any:
    complete = trial.state == "complete"
    attributes: dict[str, Any] = {"modularnas_number": trial.number, "fidelity": trial.fidelity}
    further = {key: value for key, value in trial.values.items() if not complete or key not in study.objectives}
    attributes |= {"values": further} if further else {}
    attributes |= {"error": trial.error} if trial.error else {}
    reports = trial.reports
    first = next(iter(study.objectives))
    parameters = {name: _plain(value) for name, value in trial.point.items() if distributions[name] is not None}
    attributes |= {f"subset {name}": value for name, value in trial.point.items() if distributions[name] is None}
    for constraint, (low, high) in study.constraints.items():
        value = trial.values.get(constraint)
        if value is not None:
            over = max(value - high if high is not None else 0.0, low - value if low is not None else 0.0)
            attributes.setdefault("constraints", []).append(over)
    system = {"constraints": attributes.pop("constraints")} if "constraints" in attributes else None
    single = len(study.objectives) == 1
    return optuna.trial.create_trial(
        state=getattr(optuna.trial.TrialState, _STATES[trial.state]),
        values=[trial.values[name] for name in study.objectives] if complete else None,
        params=parameters,
        distributions={name: distributions[name] for name in parameters},
        user_attrs=attributes,
        system_attrs=system,
        intermediate_values={step: values[first] for step, values in reports.items() if first in values}
        if single
        else None,
    )


class Import:
    """What a study of Optuna is, in our words."""

    def __init__(self, space: _core.SearchSpace, objectives: dict[str, str], trials: list[tuple[Any, Any]]) -> None:
        self.space = space
        self.objectives = objectives
        self.trials = trials


def read(url: str, name: str | None, space: _core.SearchSpace | None) -> Import:
    """The finished trials of a study of Optuna.

    Without a `space` it is made of the parameters' distributions. There a parameter that not every trial has is an
    error, since Optuna does not say on what it depends; then give the space.
    """
    optuna = _optuna()
    theirs = optuna.load_study(study_name=name, storage=_storage(optuna, url))
    names = theirs.metric_names or [f"value_{i}" for i in range(len(theirs.directions))]
    if len(names) == 1 and not theirs.metric_names:
        names = ["value"]
    objectives = {
        metric: "max" if way == optuna.study.StudyDirection.MAXIMIZE else "min"
        for metric, way in zip(names, theirs.directions, strict=True)
    }
    finished = [trial for trial in theirs.trials if trial.state.is_finished()]
    if space is None:
        space = _space(optuna, finished)
    return Import(space, objectives, list(_trials(finished, space, list(objectives))))


def _space(optuna: Any, trials: list[Any]) -> _core.SearchSpace:
    found: dict[str, Any] = {}
    counts: dict[str, int] = {}
    tried = [trial for trial in trials if trial.params]
    for trial in tried:
        for name, distribution in trial.distributions.items():
            counts[name] = counts.get(name, 0) + 1
            if found.setdefault(name, distribution) != distribution:
                raise StudyError(f"parameter '{name}' has several distributions in the study; give space=")
    missing = [name for name, count in counts.items() if count < len(tried)]
    if missing or not found:
        what = f"not every trial has parameter '{missing[0]}'" if missing else "the study has no trial with parameters"
        raise StudyError(f"{what}, so the search space cannot be read off it; give space=")
    return _core.SearchSpace({name: _decision(optuna, name, one) for name, one in found.items()})


def _decision(optuna: Any, name: str, distribution: Any) -> _core.Decision:
    kinds = optuna.distributions
    if isinstance(distribution, kinds.CategoricalDistribution):
        return _core.choice(list(distribution.choices))
    if isinstance(distribution, kinds.IntDistribution):
        return _core.integer(distribution.low, distribution.high, step=distribution.step)
    if distribution.step is not None:
        raise StudyError(f"parameter '{name}' is a real number in steps, which no decision is; give space=")
    return _core.real(distribution.low, distribution.high, log=distribution.log)


def _trials(trials: list[Any], space: _core.SearchSpace, metrics: list[str]) -> Iterator[tuple[Any, Any]]:
    labels: dict[str, dict[Any, Any]] = {
        decision.name: {_plain(choice): choice for choice in decision.choices or ()} for decision in space.decisions
    }
    for trial in trials:
        values = {name: labels.get(name, {}).get(value, value) for name, value in trial.params.items()}
        for decision in space.decisions:
            chosen = trial.user_attrs.get(f"subset {decision.name}")
            if chosen is not None:
                values[decision.name] = tuple(chosen)
        if not values:
            continue
        further = trial.user_attrs.get("values", {})
        outcome: Any
        if trial.state.name == "COMPLETE":
            outcome = {**dict(zip(metrics, trial.values, strict=True)), **further}
        elif trial.state.name == "PRUNED":
            outcome = Pruned(further or ({metrics[0]: trial.values[0]} if trial.values else None))
        else:
            outcome = Failed(trial.user_attrs.get("error", "failed in Optuna"))
        yield space.point(values), outcome
