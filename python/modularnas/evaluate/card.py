"""The honest result card: did the search find more than no search would have?

Random search is a strong baseline (Li and Talwalkar 2019, "Random Search and Reproducibility for Neural Architecture
Search", arXiv 1902.07638), and so is the largest network of a random sample (Ning et al. 2021, arXiv 2008.03064). A
search is compared with both at equal budget, and with the model that was not searched, over several seeds; the card
says so when it did not help (the checklist of Lindauer and Hutter 2020, "Best Practices for Scientific Research on
Neural Architecture Search", arXiv 1909.02453).
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modularnas.errors import EvaluationError
from modularnas.evaluate.candidate import Candidate
from modularnas.evaluate.rank_report import mean_interval, rank_report
from modularnas.evaluate.values import values_of
from modularnas.outcome import Failed, Pruned

__all__ = ["Card", "Row", "make_card"]

#: Costs that alone rank networks, largest first.
_SIZES = ("params", "macs")
#: Fewer seeds say nothing about chance.
_LEAST_SEEDS = 3


@dataclass(frozen=True)
class Row:
    """What one way to choose a network reached.

    Attributes:
        name: the way.
        values: the metric, one a seed; empty if it was not measured.
        note: what else is to be known.
    """

    name: str
    values: tuple[float, ...]
    note: str = ""

    @property
    def mean(self) -> float:
        """The mean over the seeds; NaN if it was not measured."""
        return float(np.mean(self.values)) if self.values else math.nan

    def __str__(self) -> str:
        if not self.values:
            return f"{self.name}: not measured. {self.note}".rstrip()
        shown = f"{self.name}: {self.mean:.6g}"
        if len(self.values) > 1:
            low, high = mean_interval(self.values)
            shown += f" [{low:.6g}, {high:.6g}]"
        shown += f" ({len(self.values)} seed{'s' * (len(self.values) > 1)})"
        return f"{shown} {self.note}".rstrip()


@dataclass(frozen=True)
class Card:
    """What a search reached beside what no search reaches; text, and HTML in a notebook.

    Attributes:
        metric: what is compared.
        direction: `"max"` or `"min"`.
        budget: full evaluations of each way but the unsearched.
        rows: the ways, the search first.
        helped: whether the search was better than all others; None: not known.
        verdict: the same in words.
        rank: Kendall's tau between the size of the study's networks and the metric, with its interval; None: not known.
    """

    metric: str
    direction: str
    budget: int
    rows: tuple[Row, ...]
    helped: bool | None
    verdict: str
    rank: tuple[str, float, tuple[float, float]] | None = None

    def _lines(self) -> list[str]:
        lines = [f"{self.metric} ({self.direction}), {self.budget} full evaluations each, means with 95 % intervals"]
        lines += [f"  {row}" for row in self.rows]
        if self.rank is not None:
            name, kendall, (low, high) = self.rank
            lines.append(
                f"  {name} alone ranks this study's networks with Kendall {kendall:.2f} [{low:.2f}, {high:.2f}]"
            )
        return [*lines, self.verdict]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        first, *middle, last = self._lines()
        items = "".join(f"<li>{html.escape(line.strip())}</li>" for line in middle)
        return f"<div>{html.escape(first)}<ul>{items}</ul><b>{html.escape(last)}</b></div>"


def make_card(
    study: Any,
    evaluator: Any = None,
    *,
    unsearched: Any = None,
    metric: str | None = None,
    report: str | None = None,
    seeds: int = 5,
    algorithm: Callable[[], Any] | None = None,
) -> Card:
    """The result card of a study; `study.card` documents it."""
    metric = metric or next(iter(study.objectives))
    if metric not in study.objectives:
        raise EvaluationError(f"the study has no objective '{metric}'; it has {', '.join(study.objectives)}")
    if seeds < 1:
        raise EvaluationError(f"seeds is {seeds}; expected 1 or more")
    shown, direction = report or metric, study.objectives[metric]
    budget = max(1, round(sum(trial.fidelity for trial in study.trials if trial.state != "running")))
    best = _best(study.trials, metric, direction, study.constraints)
    if best is None:
        raise EvaluationError(
            f"the study has no complete trial with '{metric}' yet ({len(study.trials)} trials in all)"
        )
    own = _value(best, shown)
    is_random = getattr(study.algorithm, "name", study.algorithm) == "random"
    searched = Row("searched", (own,), f"{getattr(study.algorithm, 'name', study.algorithm)}, trial {best.number}")
    rows = [searched]
    if evaluator is None:
        note = "This study is one." if is_random else "study.card(evaluator) runs it."
        rows.append(Row("random search at equal budget", (own,) if is_random else (), note))
        rows += _largest([study.trials], metric, shown, "of this study's networks")
    else:
        searches = [study, *(_again(study, evaluator, budget, seed, algorithm) for seed in range(1, seeds))]
        found = [_value(_best(one.trials, metric, direction, study.constraints), shown) for one in searches]
        rows[0] = Row("searched", tuple(found), searched.note)
        baselines = [_again(study, evaluator, budget, seed, lambda: "random") for seed in range(seeds)]
        reached = [_value(_best(one.trials, metric, direction, study.constraints), shown) for one in baselines]
        rows.append(Row("random search at equal budget", tuple(reached)))
        rows += _largest([one.trials for one in baselines], metric, shown, "of the same random networks")
    if unsearched is not None:
        rows.append(_unsearched(study, evaluator, unsearched, metric, shown))
    helped, verdict = _judge(rows, direction, is_random and evaluator is None)
    return Card(shown, direction, budget, tuple(rows), helped, verdict, _rank(study.trials, metric, direction))


def _best(trials: Sequence[Any], metric: str, direction: str, constraints: Any) -> Any:
    """The best complete trial, feasible before infeasible."""
    done = [trial for trial in trials if trial.state == "complete" and metric in trial.values]
    full = max((trial.fidelity for trial in done), default=1.0)

    def feasible(trial: Any) -> bool:
        return all(
            (low is None or trial.values[name] >= low) and (high is None or trial.values[name] <= high)
            for name, (low, high) in constraints.items()
            if name in trial.values
        )

    done = [trial for trial in done if trial.fidelity == full]
    kept = [trial for trial in done if feasible(trial)] or done
    sign = 1 if direction == "max" else -1
    return max(kept, key=lambda trial: sign * trial.values[metric], default=None)


def _value(trial: Any, shown: str) -> float:
    if trial is None:
        raise EvaluationError("a repeated search has no complete trial, so there is nothing to compare")
    if shown not in trial.values:
        raise EvaluationError(f"trial {trial.number} has no metric '{shown}'; it has {', '.join(trial.values)}")
    return float(trial.values[shown])


def _again(study: Any, evaluator: Any, budget: int, seed: int, algorithm: Callable[[], Any] | None) -> Any:
    """The same search with another seed, in memory."""
    chosen = algorithm() if algorithm is not None else study.algorithm
    if algorithm is None and hasattr(chosen, "ask"):
        raise EvaluationError(
            f"the algorithm {type(chosen).__name__} remembers this study; give algorithm=, a function that "
            " makes a new one, or seeds=1"
        )
    again = type(study)(study.space, chosen, study.objectives, study.constraints, seed=study.seed + seed)
    trials = budget if algorithm is not None else len(study.trials)
    again.optimize(evaluator, trials=trials, progress=False)
    return again


def _largest(runs: Sequence[Sequence[Any]], metric: str, shown: str, note: str) -> list[Row]:
    """What the largest network of each run reaches, by each size that is known."""
    rows = []
    for size in _SIZES:
        values = []
        for trials in runs:
            done = [one for one in trials if one.state == "complete" and shown in one.values]
            sizes = [size_of for one in done if (size_of := _size(one, size)) is not None]
            if done and len(sizes) == len(done):
                values.append(float(done[int(np.argmax(sizes))].values[shown]))
        if values:
            rows.append(Row(f"most {size}", tuple(values), note))
    return rows


def _size(trial: Any, size: str) -> float | None:
    """A size of a trial's network: measured, or known by its space."""
    if size in trial.values:
        return float(trial.values[size])
    space = trial.point.space
    return float(space.cost(trial.point)[size]) if size in space.metrics else None


def _unsearched(study: Any, evaluator: Any, unsearched: Any, metric: str, shown: str) -> Row:
    """The value of the model that was not searched: given, known from the study, or evaluated."""
    name = "unsearched model"
    if isinstance(unsearched, (int, float)):
        return Row(name, (float(unsearched),), "as given")
    point = study.space.point(unsearched)
    for trial in study.trials:
        if trial.state == "complete" and trial.point == point and shown in trial.values:
            return Row(name, (float(trial.values[shown]),), f"trial {trial.number}")
    if evaluator is None:
        return Row(name, (), "study.card(evaluator, unsearched=...) evaluates it.")
    asked = Candidate(len(study.trials), point)
    outcome = evaluator.evaluate([asked])[0] if hasattr(evaluator, "evaluate") else evaluator(point)
    values = values_of(outcome, asked, metric, "the evaluator")
    if isinstance(values, (Failed, Pruned)):
        return Row(name, (), f"It failed: {values}")
    return Row(name, (values[shown],))


def _judge(rows: Sequence[Row], direction: str, is_random: bool) -> tuple[bool | None, str]:
    searched, *others = rows
    known = [row for row in others if row.values]
    if is_random:
        return None, "The search is random search: it cannot help beyond it."
    random = next(row for row in others if row.name.startswith("random"))
    if not random.values:
        return None, "Whether the search helped is not known: random search at equal budget was not measured."
    sign = 1 if direction == "max" else -1
    equal = [row.name for row in known if sign * (searched.mean - row.mean) <= 0]
    if equal:
        return False, f"Search did not help: {', '.join(equal)} did as well or better."
    if len(searched.values) < _LEAST_SEEDS:
        n = len(searched.values)
        return None, f"The search was better, with {n} seed{'s' * (n > 1)}: too few to tell it from chance."
    doubtful = []
    for row in known:
        reached = row.values if len(row.values) == len(searched.values) else (row.mean,) * len(searched.values)
        gains = [sign * (a - b) for a, b in zip(searched.values, reached, strict=True)]
        if mean_interval(gains)[0] <= 0:
            doubtful.append(row.name)
    if doubtful:
        return False, f"Search did not help for certain: its gain over {', '.join(doubtful)} is within chance."
    least = min(sign * (searched.mean - row.mean) for row in known)
    return True, f"Search helped: better than all of these by {least:.3g} or more, beyond chance."


def _rank(trials: Sequence[Any], metric: str, direction: str) -> tuple[str, float, tuple[float, float]] | None:
    """How far the first size that is known ranks the study's networks."""
    done = [trial for trial in trials if trial.state == "complete" and metric in trial.values]
    for size in _SIZES:
        sizes = [size_of for trial in done if (size_of := _size(trial, size)) is not None]
        if len(done) > 2 and len(sizes) == len(done):
            found = rank_report(sizes, [trial.values[metric] for trial in done], directions=("max", direction))
            if math.isfinite(found.kendall):
                return size, found.kendall, found.kendall_interval
    return None
