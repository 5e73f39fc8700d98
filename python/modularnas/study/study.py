"""The study (the paper's Algorithm 1): the loop over a search algorithm and an evaluator, and its memory."""

from __future__ import annotations

import html
import json
import operator
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from modularnas import _core
from modularnas.errors import StudyError
from modularnas.evaluate.card import Card, make_card
from modularnas.progress import Progress
from modularnas.pruners import Pruner
from modularnas.study import tables
from modularnas.study.faults import Faults, Guarded
from modularnas.study.interrupt import Interrupts
from modularnas.study.processes import Processes

if TYPE_CHECKING:
    import pandas

__all__ = ["Study"]

Bounds = tuple[float | None, float | None]
Trial = _core.Trial


class Study:
    """A search: its trials, its algorithm, and the file that remembers them.

    With `storage` every finished trial is on disk before the next one starts. A file with the same space, objectives,
    constraints, algorithm and seed is continued: after a crash the next trials are those of an uninterrupted run.
    Several processes may work on one file. Trials of a process that died are handed out again; if it was of another
    host, after a minute without a sign of life. The file holds data only: opening that of a stranger runs no code.

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
        pruner: one of `mn.pruners`, by which `trial.should_prune()` answers; it may change from run to run.

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
        pruner: Pruner | None = None,
    ) -> None:
        if not (pruner is None or isinstance(pruner, Pruner)):
            raise StudyError(f"pruner is a {type(pruner).__name__}; expected one of mn.pruners")
        self.algorithm = algorithm
        self.pruner = pruner
        #: Why the last `optimize` ended: "trials", "timeout", "target", "plateau", "budget" or "exhausted".
        self.stopped: str | None = None
        settings = None if pruner is None else pruner.settings
        self._engine = _core.Study(
            space, algorithm, objectives, constraints, storage, seed, settings, json.dumps(_environment())
        )

    @classmethod
    def from_optuna(
        cls,
        url: str,
        name: str | None = None,
        algorithm: Any = "random",
        *,
        space: _core.SearchSpace | None = None,
        **settings: Any,
    ) -> Study:
        """A study with the finished trials of one of Optuna's; the algorithm has learnt from them.

        Args:
            url: of its storage (`"sqlite:///file.db"`), or the path of a journal file.
            name: of the study; None if there is only one.
            algorithm: as for `Study`.
            space: None: made of the parameters' distributions, if every trial has every parameter.
            **settings: further ones of `Study`.

        Raises:
            MissingExtraError: without Optuna.
            StudyError: if the space cannot be read off the trials.
        """
        from modularnas.study import optuna

        found = optuna.read(url, name, space)
        study = cls(found.space, algorithm, found.objectives, **settings)
        study._engine.add([point for point, _ in found.trials], [outcome for _, outcome in found.trials])
        return study

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

    def add(self, point: Mapping[str, Any], outcome: Any) -> Trial:
        """Enters a point that was evaluated elsewhere, and lets the algorithm learn from it; returns its trial.

        Example:
            >>> study = mn.Study(mn.SearchSpace({"n": mn.integer(1, 9)}), mn.search.Random(), {"loss": "min"})
            >>> study.add({"n": 4}, 0.25).state
            'complete'
        """
        return self._engine.add([point], [outcome])[0]

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
        trials: int | None = None,
        *,
        workers: int = 1,
        batch: int = 1,
        processes: bool = False,
        devices: Sequence[int | str] | None = None,
        timeout_s: float | None = None,
        target: float | Mapping[str, float] | None = None,
        plateau: int | None = None,
        budget: Mapping[str, float] | None = None,
        trial_timeout_s: float | None = None,
        attempts: int | None = None,
        progress: bool = True,
        callbacks: Sequence[Callable[[Trial], None]] = (),
        catch: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> None:
        """Asks, evaluates and tells until a condition to stop holds; `study.stopped` says which one.

        An exception of the evaluator passes through unchanged; the trials told before are kept, and the one that was
        running is handed out again by the next call. A result that is not finite, or lacks a metric, is recorded as
        failed, as is a trial that runs out of memory, and the study goes on. Ctrl-C ends the run after the running
        trials; a second Ctrl-C ends them too (threads: at their next Python instruction).

        Args:
            evaluator: an object with `evaluate(trials)`, or a function `f(point) -> float | dict`. For processes also a
                path, `"package.module:name"` or `"file.py:name"`.
            trials: the number of finished trials wanted in the study in all, pruned and failed ones included.
            workers: how many threads (for evaluators that free the GIL) or processes evaluate at once. They share out
                the cores that torch uses; the GPUs go round.
            batch: how many trials the evaluator gets at once.
            processes: whether workers are processes. They import the evaluator by its path, never `__main__`; other
                objects are pickled. One that dies is replaced.
            devices: the GPUs that processes get in turn, by what CUDA_VISIBLE_DEVICES calls them; None: all.
            timeout_s: no trial is started after so many seconds.
            target: ends when a feasible trial is as good as this: a number, or a number for each of some objectives.
            plateau: ends after so many trials in a row without a better one (several objectives: without a new one in
                the front).
            budget: ends when the sum of a metric over all trials reaches this, such as `{"gpu_h": 100}`.
            trial_timeout_s: a trial that takes longer is interrupted and fails; its process is killed, if it has one.
            attempts: how often a trial is tried that raises what `catch` names, runs out of memory or of time, or loses
                its worker. None: once, 5 times if it lost its worker, and without end if this whole process dies.
            progress: whether to show a progress bar on stderr.
            callbacks: called with each finished trial after it is durable, one call after the other whatever the
                workers; see `mn.observers`.
            catch: exceptions of the evaluator to record as failed trials instead of raising them.

        Raises:
            StudyError: for wrong arguments, or without a condition to stop.
        """
        classes = catch if isinstance(catch, tuple) else (catch,)
        if not all(isinstance(cls, type) and issubclass(cls, Exception) for cls in classes):
            raise StudyError(f"catch is {catch!r}; expected an exception class or a tuple of them")
        stop = {
            "trials": None if trials is None else _at_least(1, "trials", trials),
            "timeout_s": timeout_s,
            "target": self._targets(target),
            "plateau": None if plateau is None else _at_least(1, "plateau", plateau),
            "budget": [(name, float(limit)) for name, limit in (budget or {}).items()],
        }
        if all(condition in (None, []) for condition in stop.values()):
            raise StudyError("the run has no end; give trials, timeout_s, target, plateau or budget")
        if trial_timeout_s is not None and not trial_timeout_s > 0:
            raise StudyError(
                f"trial_timeout_s is {trial_timeout_s}; expected more than 0 seconds, or None for no limit"
            )
        workers = _at_least(1, "workers", workers)
        batch = _at_least(1, "batch", batch)
        attempts = None if attempts is None else _at_least(1, "attempts", attempts)
        faults = Faults(classes, attempts, trial_timeout_s)
        at_once: Callable[[], None] = _nothing
        with ExitStack() as stack:
            if processes:
                evaluator = stack.enter_context(Processes(evaluator, workers, faults, self.space, devices))
            elif hasattr(evaluator, "at_work"):
                evaluator = stack.enter_context(evaluator.at_work(faults, self.space))
            elif workers > 1 or trial_timeout_s is not None or attempts is not None:
                stack.enter_context(_shared_cores(workers))
                if hasattr(evaluator, "evaluate") or callable(evaluator):
                    evaluator = guarded = _guarded(evaluator, faults)
                    at_once = getattr(guarded, "interrupt", _nothing)
            for callback in callbacks:
                if isinstance(callback, AbstractContextManager):
                    stack.enter_context(callback)
            show = stack.enter_context(Progress(self, trials)) if progress else None
            interrupts = stack.enter_context(Interrupts(at_once, talk=progress))
            self.stopped = self._engine.optimize(
                evaluator, stop, workers, batch, attempts, list(callbacks), classes, show, interrupts.poll
            )

    def _targets(self, target: float | Mapping[str, float] | None) -> list[tuple[str, float]]:
        if target is None:
            return []
        if isinstance(target, Mapping):
            return [(str(name), float(value)) for name, value in target.items()]
        if len(self.objectives) > 1:
            names = ", ".join(self.objectives)
            raise StudyError(f"target is {target!r} in a study with several objectives ({names}); give a dict")
        return [(next(iter(self.objectives)), float(target))]

    def to_pandas(self) -> pandas.DataFrame:
        """One row a trial: number, state, decisions, values, error.

        Raises:
            MissingExtraError: without pandas.
        """
        return tables.frame(self.trials)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes one row a trial, as `to_pandas`, to a CSV file."""
        tables.write_csv(self.trials, path)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Writes the trials with their reports to a JSON file."""
        tables.write_json(self.trials, path)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Writes one row a trial, as `to_pandas`, to a Parquet file.

        Raises:
            MissingExtraError: without pandas or pyarrow.
        """
        tables.write_parquet(self.trials, path)

    def to_optuna(self, url: str, name: str) -> None:
        """Writes the finished trials as a study of Optuna, which `optuna-dashboard` shows.

        Args:
            url: of a storage (`"sqlite:///file.db"`), or the path of a journal file.
            name: of the new study.

        Raises:
            MissingExtraError: without Optuna.
            StudyError: if there is a study of that name already.
        """
        from modularnas.study import optuna

        optuna.write(self, url, name)

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


def _nothing() -> None:
    pass


def _guarded(evaluator: Any, faults: Faults) -> Any:
    """With deadlines and attempts; what computes on arrays, or in the native half, needs neither and stays as it is."""
    alone = isinstance(evaluator, _core.Benchmark) or hasattr(evaluator, "evaluate_indices")
    return evaluator if alone else Guarded(evaluator, faults)


@contextmanager
def _shared_cores(workers: int) -> Iterator[None]:
    """Shares the cores that torch uses out among threads."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(max(1, n_threads // workers))
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _environment() -> dict[str, str]:
    """What a file remembers of where its study ran."""
    import numpy
    import torch

    return {
        "modularnas": _core.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
    }


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
