"""One stage, run: here, in a process of its own, or on a Ray cluster.

Whatever the place, a stage reads its inputs from the run folder and writes its result there, so nothing but a short
description crosses. Other places need a function that can be imported, and a folder that they share.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from modularnas.errors import MissingExtraError, PipelineError
from modularnas.pipeline.checkpoint import Checkpoint, seed_everything
from modularnas.pipeline.metrics import Report
from modularnas.pipeline.near import near
from modularnas.pipeline.result import read_result, write_result

__all__ = ["EXECUTORS", "Task", "check_executor", "execute", "resolve"]


@dataclass(frozen=True)
class Task:
    """All that is needed to run one stage.

    Attributes:
        name: the stage's.
        function: it, or where to import it from (see `resolve`).
        arguments: constants.
        inputs: argument to (stage, key, …).
        asks: which of `folder`, `checkpoint`, `report`, `seed` it gets.
        outputs: the results it promises; None: any.
        stages: the folder that holds the stages' folders.
        key: what the result depends on.
        seed: the pipeline's.
    """

    name: str
    function: Callable[..., Any] | str
    arguments: dict[str, Any]
    inputs: dict[str, tuple[str, ...]]
    asks: tuple[str, ...]
    outputs: tuple[str, ...] | None
    stages: str
    key: str
    seed: int

    @property
    def folder(self) -> Path:
        """The stage's own."""
        return Path(self.stages, self.name)


def execute(task: Task) -> None:
    """Runs a stage in this thread and stores its result."""
    folder = task.folder
    function = resolve(task.function) if isinstance(task.function, str) else task.function
    inputs = {argument: _input(task, source) for argument, source in task.inputs.items()}
    report = Report(folder)
    given = {
        "folder": folder,
        "checkpoint": Checkpoint(folder / "checkpoint.pt"),
        "report": report,
        "seed": task.seed,
    }
    seed_everything(int(task.key[:15], 16))  # of its own for every stage, the same whoever ran before
    started_s = time.monotonic()
    try:
        outputs = function(**task.arguments, **inputs, **{name: given[name] for name in task.asks})
    finally:
        report.close()
    missing = [name for name in task.outputs or () if name not in (outputs or {})]
    if missing:
        raise PipelineError(f"stage '{task.name}' promises the output '{missing[0]}' and did not return it")
    wall_s = round(time.monotonic() - started_s, 3)
    write_result(
        folder, task.name, task.key, outputs, {"wall_s": wall_s, "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    )


def _input(task: Task, source: tuple[str, ...]) -> Any:
    stored = read_result(Path(task.stages, source[0]))
    if stored is None:
        raise PipelineError(f"stage '{task.name}' needs the result of '{source[0]}', which is not there")
    return stored.value(source[1:])


def resolve(place: str) -> Any:
    """What `package.module:name` or `folder/file.py:name` names.

    Raises:
        PipelineError: if there is no such module, file or name.
    """
    module_name, _, name = place.rpartition(":")
    if not module_name:
        raise PipelineError(f"'{place}' names no function; expected module:function or file.py:function")
    try:
        module = _load_file(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise PipelineError(f"'{place}' cannot be imported: {error}") from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [known for known in vars(module) if not known.startswith("_")]
            raise PipelineError(f"'{place}': there is no '{part}' in {module_name}{near(part, names)}")
        found = getattr(found, part)
    return found


def _load_file(path: Path) -> Any:
    """A file as a module, once; its folder comes first where it imports from."""
    path = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file '{path}'")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _in_process(task: Task) -> None:
    """Runs a stage in a fresh Python process, which ends when this one does.

    What it prints goes to `log.txt` in the stage's folder.
    """
    try:
        description = json.dumps(asdict(task))
    except TypeError as error:
        raise PipelineError(f"stage '{task.name}' has arguments that cannot go to another process: {error}") from error
    command = [sys.executable, "-m", "modularnas.pipeline", description]
    with (
        open(task.folder / "log.txt", "ab") as log,
        # Its standard input is a pipe from here: it ends when we do. It inherits the lock of the run folder.
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, close_fds=False) as process,
    ):
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
    if status != 0:
        lines = (task.folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        reason = lines[-1] if status > 0 and lines else f"it was killed by signal {-status}"
        raise PipelineError(f"{reason} (all of it in {task.folder / 'log.txt'})")


def _on_ray(task: Task) -> None:
    """Runs a stage on a Ray cluster, which shares the run folder; it takes a GPU where the cluster has some.

    A stage whose worker dies is run again, and goes on from its checkpoint.
    """
    cluster = _ray()
    with _RAY:
        if not cluster.is_initialized():
            cluster.init(log_to_driver=False)
    n_gpus = min(cluster.cluster_resources().get("GPU", 0), 1)
    task = replace(task, stages=str(Path(task.stages).absolute()))
    try:
        cluster.get(cluster.remote(max_retries=3, num_gpus=n_gpus)(execute).remote(task))
    except cluster.exceptions.RayTaskError as error:
        raise error.cause from error  # what the stage raised


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtraError('executor="ray" needs Ray: pip install "modularnas[ray]"') from error
    return ray


#: Several threads that need a cluster start one.
_RAY = threading.Lock()

#: Name to a function that runs a stage and returns when it is done.
EXECUTORS: Mapping[str, Callable[[Task], None]] = {"threads": execute, "processes": _in_process, "ray": _on_ray}


def check_executor(executor: str, places: Mapping[str, str | None]) -> None:
    """Whether stages can run there, before anything does.

    Args:
        executor: a name of `EXECUTORS`.
        places: stage to where its function can be imported from; None: nowhere.

    Raises:
        PipelineError: if there is no such place, or a function cannot go there.
        MissingExtraError: without Ray.
    """
    if executor not in EXECUTORS:
        raise PipelineError(f"executor is {executor!r}{near(executor, EXECUTORS)}")
    if executor == "ray":
        _ray()
    for name, place in places.items():
        if executor == "processes" and place is None:
            raise PipelineError(
                f"stage '{name}' is a function of this process; a process of its own needs one to import: "
                "'module:function' or 'file.py:function'"
            )
