"""A pipeline: stages in a graph, run in order, in parallel where they can, and not again where nothing changed.

The graph is checked before anything runs. A stage is done if its key (code, arguments, content of its inputs) is that
of the stored result and what it stored is intact. A result that is replaced is put aside, not deleted: going back to
earlier settings finds it again.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from modularnas.errors import PipelineError
from modularnas.pipeline.execute import EXECUTORS, Task, check_executor
from modularnas.pipeline.folder import RunFolder
from modularnas.pipeline.near import near
from modularnas.pipeline.picture import draw
from modularnas.pipeline.result import Stored, read_result
from modularnas.pipeline.stage import Stage, plain

__all__ = ["Pipeline"]


class Pipeline:
    """Stages that use one another's results.

    Args:
        stages: name to `mn.Stage`; inputs name other stages' outputs.
        name: for the run folder's record.

    Raises:
        PipelineError: for a cycle, an unknown stage or an output that no stage promises; from here where it can be
            known, at the latest from `run` before anything runs.

    Example:
        >>> def search():
        ...     return {"best": {"width": 32}, "score": 0.9}
        >>> def train(point):
        ...     return {"accuracy": point["width"] / 40}
        >>> pipeline = mn.Pipeline({"search": mn.Stage(search), "train": mn.Stage(train, {"point": "search.best"})})
        >>> pipeline.run("out")["train"]["accuracy"]
        0.8
        >>> print(pipeline.plan("out"))
        search  done  search()
        train   done  train(point=search.best)
    """

    def __init__(self, stages: Mapping[str, Stage], *, name: str = "pipeline") -> None:
        if not stages:
            raise PipelineError("a pipeline is given no stages; give at least one")
        for stage_name, stage in stages.items():
            if not isinstance(stage, Stage):
                raise PipelineError(f"stage '{stage_name}' is a {type(stage).__name__}; expected mn.Stage(function)")
            if not stage_name.replace("_", "").replace("-", "").isalnum():
                raise PipelineError(f"stage name '{stage_name}'; expected letters, digits, _ and -: it names a folder")
        self.stages = dict(stages)
        self.name = name

    def check(self) -> list[str]:
        """The stages in an order in which they can run.

        Raises:
            PipelineError: for a cycle, an unknown stage or an output that its stage does not promise.
        """
        for name, stage in self.stages.items():
            for needed in stage.needs:
                if needed not in self.stages:
                    raise PipelineError(
                        f"stage '{name}' needs '{needed}', which is no stage{near(needed, self.stages)}"
                    )
            for argument, (source, *path) in stage.inputs.items():
                promised = self.stages[source].outputs
                if promised is not None and path and path[0] not in promised:
                    raise PipelineError(
                        f"stage '{name}': '{argument}' is '{source}.{path[0]}', and '{source}' has no such output"
                        f"{near(path[0], promised)}"
                    )
        try:
            order = list(TopologicalSorter({name: stage.needs for name, stage in self.stages.items()}).static_order())
        except CycleError as error:
            raise PipelineError(f"the stages form a cycle: {' -> '.join(reversed(error.args[1]))}") from None
        for name, stage in self.stages.items():
            for argument in stage.missing:
                raise PipelineError(
                    f"stage '{name}': {stage.label} needs '{argument}'; give it as an input (from another stage) or as "
                    "an argument"
                )
        return order

    def run(
        self,
        out: str | Path,
        *,
        seed: int = 0,
        workers: int = 4,
        executor: str = "threads",
        force: Iterable[str] = (),
        say: Callable[[str], None] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Runs what is not done yet and returns all results, by stage.

        A stage that fails ends nothing but what needs it.

        Args:
            out: the run folder; a run that was cut, or has changed, goes on there.
            seed: every stage starts from random numbers of its own, made from it.
            workers: how many stages run at once. Side by side in `"threads"` stages share what is one in a process:
                torch's random number generator, and the patches of `torch.fx` while it traces. Stages that train
                networks belong in `"processes"`.
            executor: `"threads"`, `"processes"` (functions that can be imported) or `"ray"` (the same, and a folder
                that all nodes see).
            force: stages to run even if they are done.
            say: called with a line for every event; None: they are in `log.txt` only.

        Raises:
            PipelineError: if the graph is wrong (before anything runs), or when stages failed: with their reasons, and
                the first failure as its cause.
            MissingExtraError: for `"ray"` without Ray.
        """
        order = self.check()
        check_executor(executor, {name: stage.place for name, stage in self.stages.items()})
        if workers < 1:
            raise PipelineError(f"workers is {workers}; expected 1 or more")
        forced = {force} if isinstance(force, str) else set(force)
        for name in forced - set(self.stages):
            raise PipelineError(f"force names '{name}', which is no stage{near(name, self.stages)}")
        with RunFolder(out) as folder:
            folder.describe(self._record(seed))
            run = _Run(self, folder, seed, executor, forced, say)
            run.loop(order, workers)
            if run.failures:
                raise run.error() from next(iter(run.failures.values()))
            return {name: stored.value() for name, stored in run.done.items()}

    def plan(self, out: str | Path | None = None, *, seed: int = 0) -> str:
        """What would run, as text: each stage with its inputs, and where it stands in the run folder.

        Raises:
            PipelineError: if the graph is wrong.
        """
        return _table([(name, state, self.stages[name].call()) for name, state in self.states(out, seed=seed).items()])

    def states(self, out: str | Path | None = None, *, seed: int = 0) -> dict[str, str]:
        """Where each stage stands in the run folder, in the order of running: "done", or "to run" and why.

        Raises:
            PipelineError: if the graph is wrong.
        """
        states = {}
        done: dict[str, Stored] = {}
        for name in self.check():
            stage, state = self.stages[name], "to run"
            stored = None if out is None else read_result(Path(out, "stages", name))
            if all(needed in done for needed in stage.needs):
                try:
                    key = _key(self, name, seed, done)
                except PipelineError as error:
                    raise PipelineError(f"stage '{name}': {error}") from None
                if stored is not None and stored.key == key and stored.intact():
                    done[name], state = stored, "done"
                elif stored is not None:
                    state = "to run again: it changed"
            states[name] = state
        return states

    def svg(self, out: str | Path | None = None) -> str:
        """A picture of the graph as SVG; with a run folder, done stages are filled."""
        order = self.check()
        done = {n for n in order if out is not None and read_result(Path(out, "stages", n)) is not None}
        lines = {}
        for name, stage in self.stages.items():
            sources = [f"{argument} ← {'.'.join(source)}" for argument, source in stage.inputs.items()]
            lines[name] = ([] if stage.label == name else [f"runs {stage.label}"]) + sources
        return draw(order, {name: stage.needs for name, stage in self.stages.items()}, lines, done)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _record(self, seed: int) -> dict[str, Any]:
        stages = {
            name: {
                "run": stage.place or stage.label,
                "inputs": {argument: ".".join(source) for argument, source in stage.inputs.items()},
                "arguments": {argument: plain(value) for argument, value in stage.arguments.items()},
                "after": list(stage.after),
            }
            for name, stage in self.stages.items()
        }
        return {"name": self.name, "seed": seed, "stages": stages}

    def __repr__(self) -> str:
        return f"<Pipeline {self.name}: {', '.join(self.stages)}>"


class _Run:
    """One run of a pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        folder: RunFolder,
        seed: int,
        executor: str,
        forced: set[str],
        say: Callable[[str], None] | None,
    ) -> None:
        self.pipeline, self.folder, self.seed, self.executor, self.forced = pipeline, folder, seed, executor, forced
        self.say = say
        self.done: dict[str, Stored] = {}
        self.failures: dict[str, BaseException] = {}
        self.started_s: dict[str, float] = {}

    def loop(self, order: list[str], workers: int) -> None:
        """Starts stages as they become ready until nothing is left that can run."""
        waiting, queued = list(order), list[Task]()
        running: set[str] = set()
        ended: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
        while True:
            queued += self._ready(waiting)
            if not running and (len(queued) == 1 or workers == 1) and queued:
                # Nothing can become ready meanwhile, so it runs in this thread, where Ctrl-C reaches it.
                task = queued.pop(0)
                self._begin(task)
                self._finish(task.name, self._attempt(task))
                continue
            while queued and len(running) < workers:
                task = queued.pop(0)
                self._begin(task)
                running.add(task.name)
                threading.Thread(target=lambda t=task: ended.put((t.name, self._attempt(t))), daemon=True).start()
            if not running:
                return
            name, error = ended.get()
            running.discard(name)
            self._finish(name, error)

    def error(self) -> PipelineError:
        """All failures as one."""
        first = next(iter(self.failures))
        reasons = "; ".join(f"stage '{n}' failed: {_reason(error)}" for n, error in self.failures.items())
        rest = [n for n in self.pipeline.stages if n not in self.done and n not in self.failures]
        skipped = f"; not run: {', '.join(rest)}" if rest else ""
        return PipelineError(f"{reasons}{skipped} (traceback in {self.folder.stage(first) / 'error.txt'})")

    def _ready(self, waiting: list[str]) -> list[Task]:
        """Takes from `waiting` what is done before, cannot run, or is ready; returns the last, in order."""
        found = []
        for name in list(waiting):
            if all(needed in self.done for needed in self.pipeline.stages[name].needs):
                waiting.remove(name)
                task = self._task(name)
                if task is not None:
                    found.append(task)
        return found

    def _task(self, name: str) -> Task | None:
        """What to run for a stage that is ready; None if it is done, or cannot run."""
        stage = self.pipeline.stages[name]
        try:
            key = _key(self.pipeline, name, self.seed, self.done)
        except PipelineError as error:
            self._fail(name, error)
            return None
        stored = None if name in self.forced else self.folder.find(name, key)
        if stored is not None:
            self.done[name] = stored
            self._tell(f"{name}: done before, in {stored.wall_s:.1f} s")
            return None
        return Task(
            name=name,
            function=stage.function if self.executor == "threads" else stage.place or stage.function,
            arguments=stage.arguments,
            inputs=stage.inputs,
            asks=stage.asks,
            outputs=stage.outputs,
            stages=str(self.folder.stages),
            key=key,
            seed=self.seed,
        )

    def _begin(self, task: Task) -> None:
        self.folder.prepare(task.name, task.key, again=task.name in self.forced)
        self.started_s[task.name] = time.monotonic()
        self._tell(f"{task.name}: started")

    def _attempt(self, task: Task) -> BaseException | None:
        try:
            EXECUTORS[self.executor](task)
        except (Exception, SystemExit) as error:
            return error
        return None

    def _finish(self, name: str, error: BaseException | None) -> None:
        stored = read_result(self.folder.stage(name))
        if error is None and stored is not None:
            self.done[name] = stored
            self._tell(f"{name}: done, {time.monotonic() - self.started_s[name]:.1f} s")
        else:
            self._fail(name, error or PipelineError("its result is not there"))

    def _fail(self, name: str, error: BaseException) -> None:
        self.failures[name] = error
        text = "".join(traceback.format_exception(error))
        self.folder.stage(name).mkdir(parents=True, exist_ok=True)
        (self.folder.stage(name) / "error.txt").write_text(text, encoding="utf-8")
        self._tell(f"{name}: failed, {_reason(error)}")

    def _tell(self, line: str) -> None:
        self.folder.log(line)
        if self.say is not None:
            self.say(line)


def _key(pipeline: Pipeline, name: str, seed: int, done: Mapping[str, Stored]) -> str:
    """The key of a stage whose inputs are done."""
    stage = pipeline.stages[name]
    inputs = {}
    for argument, (source, *path) in stage.inputs.items():
        try:
            inputs[argument] = done[source].encoded(tuple(path))
        except KeyError as error:
            key, known = error.args
            raise PipelineError(
                f"'{argument}' is '{'.'.join([source, *path])}', and there is no '{key}'{near(key, known)}"
            ) from None
    return stage.key(name, seed, inputs)


def _reason(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, PipelineError) else f"{type(error).__name__}: {text}" if text else repr(error)


def _table(rows: list[tuple[str, str, str]]) -> str:
    first, second = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    return "\n".join(f"{name:{first}}  {state:{second}}  {call}" for name, state, call in rows)
