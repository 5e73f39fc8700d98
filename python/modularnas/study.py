"""The study (the paper's Algorithm 1): the loop over a search algorithm and an evaluator, and its memory."""

from __future__ import annotations

import html
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from modularnas import _core
from modularnas.errors import MissingExtraError, StudyError
from modularnas.evaluate.card import Card, make_card
from modularnas.progress import Progress

if TYPE_CHECKING:
    import pandas

__all__ = ["Study"]

Bounds = tuple[float | None, float | None]
Trial = _core.Trial


class Study:
    """A search: its trials, its algorithm, and the file that remembers them.

    With `storage` every finished trial is on disk before the next one starts. A file with the same space, objectives,
    constraints, algorithm and seed is continued: after a crash the next trials are those of an uninterrupted run.
    Several processes may work on one file. Trials of a process that died are handed out again.

    Args:
        space: where to search.
        algorithm: one of `mn.search`, the name of one, or an object with `ask(context, count)` and
            `tell(context, finished)`.
        objectives: metric to `"max"` or `"min"`; with several, see `pareto_front`.
        constraints: metric to `(low, high)`, both included, None for an open side. A feasible trial is always better
            than an infeasible one. For costs that the space knows (`space.metrics`), random points of the algorithm are
            drawn inside the bounds.
        storage: a file; None keeps the study in memory.
        seed: the only source of its randomness.

    Raises:
        StudyError: for wrong arguments, or if the file holds another study (with the differences).
        SpaceError: if no point of the space keeps the constraints on its costs.
        StorageError: if the file cannot be read or written.

    Example:
        >>> space = mn.SearchSpace({"n": mn.integer(1, 100)})
        >>> study = mn.Study(space, mn.search.RegularizedEvolution(population=10), objectives={"loss": "min"})
        >>> study.optimize(lambda point: abs(point["n"] - 42), trials=200, progress=False)
        >>> study.best_trial.values
        {'loss': 0.0}
    """

    def __init__(
        self,
        space: _core.SearchSpace,
        algorithm: Any,
        objectives: Mapping[str, str],
        constraints: Mapping[str, Bounds] | None = None,
        storage: str | os.PathLike[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.algorithm = algorithm
        self._engine = _core.Study(space, algorithm, objectives, constraints, storage, seed)

    @property
    def space(self) -> _core.SearchSpace:
        """Where it searches."""
        return self._engine.space

    @property
    def objectives(self) -> dict[str, str]:
        """Metric to direction."""
        return self._engine.objectives

    @property
    def constraints(self) -> dict[str, Bounds]:
        """Metric to bounds."""
        return self._engine.constraints

    @property
    def seed(self) -> int:
        """The seed."""
        return self._engine.seed

    @property
    def trials(self) -> list[Trial]:
        """All trials by number, running ones included."""
        return self._engine.trials

    @property
    def best_trial(self) -> Trial:
        """The best complete trial: feasible before infeasible, then by the objective.

        Raises:
            StudyError: with several objectives, or before a trial is complete.
        """
        if len(self.objectives) > 1:
            names = ", ".join(self.objectives)
            raise StudyError(f"the study has several objectives ({names}), so no single best trial; see pareto_front")
        best = self._engine.best_trial
        if best is None:
            raise StudyError(f"the study has no complete trial yet ({len(self.trials)} trials in all)")
        return best

    @property
    def pareto_front(self) -> list[Trial]:
        """The complete trials that no other one dominates; feasible ones if there are any."""
        return self._engine.pareto_front

    def ask(self, count: int = 1) -> list[Trial]:
        """Up to `count` trials to evaluate by hand; fewer if the space is exhausted."""
        return self._engine.ask(_at_least(1, "count", count))

    def tell(self, trial: Trial | int, outcome: Any) -> Trial:
        """Records the outcome of an asked trial: metrics, `mn.Failed` or `mn.Pruned`; returns the finished trial.

        Raises:
            StudyError: for a trial that was not asked, or is told already.
        """
        return self._engine.tell(_number(trial), outcome)

    def tell_and_ask(
        self, outcomes: Mapping[Trial | int, Any] | Sequence[tuple[Trial | int, Any]], count: int = 1
    ) -> list[Trial]:
        """Records outcomes and asks for `count` trials, with one write to the file."""
        pairs = outcomes.items() if isinstance(outcomes, Mapping) else outcomes
        numbered = [(_number(trial), outcome) for trial, outcome in pairs]
        return self._engine.tell_and_ask(numbered, _at_least(0, "count", count))

    def optimize(
        self,
        evaluator: Any,
        trials: int,
        *,
        workers: int = 1,
        batch: int = 1,
        timeout_s: float | None = None,
        progress: bool = True,
        callbacks: Sequence[Callable[[Trial], None]] = (),
        catch: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> None:
        """Asks, evaluates and tells until the study holds `trials` finished ones.

        An exception of the evaluator passes through unchanged; the trials told before are kept, and the one that was
        running is handed out again by the next call. A result that is not finite, or lacks a metric, is recorded as
        failed and the study goes on.

        Args:
            evaluator: an object with `evaluate(trials)`, or a function `f(point) -> float | dict`.
            trials: the number of finished trials wanted in the study in all, pruned and failed ones included.
            workers: how many threads evaluate at once; for evaluators that free the GIL.
            batch: how many trials the evaluator gets at once.
            timeout_s: no trial is started after so many seconds.
            progress: whether to show a progress bar on stderr.
            callbacks: called with each finished trial after it is durable.
            catch: exceptions of the evaluator to record as failed trials instead of raising them.

        Raises:
            StudyError: for wrong arguments.
        """
        classes = catch if isinstance(catch, tuple) else (catch,)
        if not all(isinstance(cls, type) and issubclass(cls, Exception) for cls in classes):
            raise StudyError(f"catch is {catch!r}; expected an exception class or a tuple of them")
        trials = _at_least(1, "trials", trials)
        workers = _at_least(1, "workers", workers)
        batch = _at_least(1, "batch", batch)
        with ExitStack() as stack:
            show = stack.enter_context(Progress(self, trials)) if progress else None
            self._engine.optimize(evaluator, trials, timeout_s, workers, batch, list(callbacks), classes, show)

    def to_pandas(self) -> pandas.DataFrame:
        """One row a trial: number, state, decisions, values, error.

        Raises:
            MissingExtraError: without pandas.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise MissingExtraError('to_pandas needs pandas: pip install "modularnas[pandas]"') from error
        rows = [
            {
                "number": trial.number,
                "state": trial.state,
                **{f"point_{name}": value for name, value in trial.point.items()},
                **trial.values,
                "error": trial.error,
            }
            for trial in self.trials
        ]
        return pandas.DataFrame(rows)

    def card(
        self,
        evaluator: Any = None,
        *,
        unsearched: Any = None,
        metric: str | None = None,
        report: str | None = None,
        seeds: int = 5,
        algorithm: Callable[[], Any] | None = None,
    ) -> Card:
        """The honest result card: what the search reached beside what no search reaches.

        Without an evaluator it says what the trials of this study say. With one it runs random search at equal budget
        and this search again, for so many seeds in all, which costs `2 * seeds - 1` times the study.

        Args:
            evaluator: what `optimize` was given.
            unsearched: the point of the model that was not searched, such as `supernet.original_point`, or its value.
            metric: which objective to choose by; None: the first.
            report: the metric to compare, such as test accuracy; None: the objective.
            seeds: how many runs of the search (this study is the first) and of random search.
            algorithm: a function that makes the search algorithm anew, where it is an object with `ask` and `tell`.

        Raises:
            EvaluationError: before a trial is complete, or for unknown metrics.

        Example:
            >>> space = mn.SearchSpace({"n": mn.integer(1, 10_000)})
            >>> study = mn.Study(space, mn.search.LocalSearch(), objectives={"loss": "min"})
            >>> loss = lambda point: abs(point["n"] - 42)
            >>> study.optimize(loss, trials=60, progress=False)
            >>> card = study.card(loss, unsearched={"n": 5000})
            >>> [row.name for row in card.rows]
            ['searched', 'random search at equal budget', 'unsearched model']
        """
        return make_card(
            self, evaluator, unsearched=unsearched, metric=metric, report=report, seeds=seeds, algorithm=algorithm
        )

    def _best_text(self) -> str:
        if len(self.objectives) > 1:
            return f"front {len(self.pareto_front)}"
        best = self._engine.best_trial
        (name,) = self.objectives
        return f"{name} {best.values[name]:.6g}" if best is not None else f"{name} -"

    def __repr__(self) -> str:
        return f"<Study: {self._engine.finished} trials, {self._best_text()}>"

    def _repr_html_(self) -> str:
        metrics = list(self.objectives)
        front = sorted(self.pareto_front, key=lambda trial: trial.values[metrics[0]])
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ["trial", *metrics, "point"])
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(cell)}</td>"
                for cell in [str(t.number), *(f"{t.values[m]:.6g}" for m in metrics), str(dict(t.point))]
            )
            + "</tr>"
            for t in front[:20]
        )
        return f"<table><caption>{html.escape(repr(self))}</caption><tr>{head}</tr>{rows}</table>"


def _at_least(least: int, name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise StudyError(f"{name} is {value!r}; expected an int, {least} or more") from None
    if number < least:
        raise StudyError(f"{name} is {number}; expected {least} or more")
    return min(number, 2**63 - 1)


def _number(trial: Trial | int) -> int:
    if isinstance(trial, Trial):
        return trial.number
    if isinstance(trial, int):
        if trial < 0:
            raise StudyError(f"there is no trial {trial}; trials are numbered from 0")
        return trial
    raise StudyError(f"a trial is told as a {type(trial).__name__}; expected one that ask() returned, or its number")
