"""Evaluation in worker processes of this machine.

The loop in the native half hands trials out (`submit`) and takes what has come back (`collect`); here are the
processes. Each gets its share of the processor's cores for torch and one GPU in turn, and is replaced when it dies.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any

from modularnas import _core
from modularnas.errors import EvaluationError, StudyError
from modularnas.outcome import Failed
from modularnas.study.faults import Faults
from modularnas.study.worker import RemoteTrial

__all__ = ["Processes"]

_COMMAND = "import sys; from modularnas.study.worker import main; main(int(sys.argv[1]))"


class Processes:
    """Worker processes around an evaluator that is given by a path, or can be pickled without `__main__`."""

    def __init__(
        self,
        evaluator: Any,
        workers: int,
        faults: Faults,
        space: _core.SearchSpace,
        devices: Sequence[int | str] | None = None,
    ) -> None:
        if os.name != "posix":
            raise StudyError("processes=True needs a POSIX system; use threads, or mn.distributed.Ray")
        self.workers = workers
        self.faults = faults
        self.devices = list(devices) if devices is not None else _visible_devices()
        self._setup = {
            "evaluator": _transport(evaluator),
            "space": space.to_json(),
            "sys_path": [str(Path(path).resolve()) if not path else path for path in sys.path],
            "n_threads": max(1, (os.cpu_count() or 1) // workers),
        }
        self._crew: list[_Worker | None] = [None] * workers
        self._waiting: deque[_core.Trial] = deque()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._crew:
            if worker is not None:
                worker.stop()

    def capacity(self) -> int:
        """How many trials the workers hold at once."""
        return self.workers

    def submit(self, trials: Sequence[_core.Trial]) -> None:
        """Hands trials to free workers."""
        self._waiting.extend(trials)
        for i, worker in enumerate(self._crew):
            if not self._waiting:
                return
            if worker is None:
                device = self.devices[i % len(self.devices)] if self.devices else None
                worker = self._crew[i] = _Worker(self._setup, device, self.faults.trial_timeout_s)
            if worker.trial is None:
                worker.begin(self._waiting.popleft())

    def collect(self, seconds: float) -> list[tuple[int, Any]]:
        """Number and outcome of what has come back; waits up to `seconds` if nothing has."""
        until = time.monotonic() + seconds
        outcomes: list[tuple[int, Any]] = []
        while not outcomes:
            busy = [worker for worker in self._crew if worker is not None and worker.trial is not None]
            deadlines = [until, *(worker.deadline for worker in busy if worker.deadline is not None)]
            ready = wait([worker.pipe for worker in busy], max(0.0, min(deadlines) - time.monotonic()))
            for worker in busy:
                if worker.pipe in ready:
                    outcomes += self._hear(worker)
                elif worker.deadline is not None and time.monotonic() >= worker.deadline:
                    outcomes += self._lose(worker, self.faults.too_late())
            if time.monotonic() >= until:
                break
        self.submit([])
        return outcomes

    def _hear(self, worker: _Worker) -> list[tuple[int, Any]]:
        trial = worker.trial
        assert trial is not None  # only workers that hold a trial are listened to
        try:
            verb, *values = worker.pipe.recv()
        except (EOFError, OSError):
            return self._lose(worker, Failed(f"its worker process {worker.end()}"), worker_died=True)
        if verb == "ready":
            worker.start_clock()
            return []
        if verb in ("report", "should_prune"):
            worker.answer(getattr(trial, verb), *values)
            return []
        if verb == "broken":
            error, text = values
            raise EvaluationError(f"a worker process cannot make the evaluator: {error}\n{text}") from error
        worker.trial = None
        return self._settle(
            trial, values[0] if verb == "done" else self.faults.failure(*values), again=verb == "raised"
        )

    def _lose(self, worker: _Worker, reason: Failed, *, worker_died: bool = False) -> list[tuple[int, Any]]:
        trial = worker.trial
        assert trial is not None
        worker.stop()
        self._crew[self._crew.index(worker)] = None
        return self._settle(trial, reason, again=True, worker_died=worker_died)

    def _settle(
        self, trial: _core.Trial, outcome: Any, *, again: bool, worker_died: bool = False
    ) -> list[tuple[int, Any]]:
        if again and self.faults.try_again(trial.number, worker_died=worker_died):
            self._waiting.appendleft(trial)
            return []
        self.faults.forget(trial.number)
        return [(trial.number, outcome)]


class _Worker:
    """One process, the pipe to it, and the trial that it holds."""

    def __init__(self, setup: dict[str, Any], device: int | str | None, timeout_s: float | None) -> None:
        self.trial: _core.Trial | None = None
        self.timeout_s = timeout_s
        self.ready = False
        self.deadline: float | None = None
        self.pipe, theirs = Pipe()
        environment = dict(os.environ, OMP_NUM_THREADS=str(setup["n_threads"]))
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = str(device)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment
        )
        theirs.close()
        self._send(setup)

    def begin(self, trial: _core.Trial) -> None:
        self.trial = trial
        if self.ready:
            self.start_clock()
        self._send(RemoteTrial.record(trial))

    def start_clock(self) -> None:
        """From when the trial runs: a new process has to import first, which is not the trial's fault."""
        self.ready = True
        self.deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s

    def answer(self, call: Any, *values: Any) -> None:
        try:
            self._send(call(*values))
        except Exception as error:
            self._send(error)

    def _send(self, message: Any) -> None:
        try:
            self.pipe.send(message)
        except BrokenPipeError:
            pass  # it died; reading from the pipe says so

    def end(self) -> str:
        """How the process ended, once it has."""
        code = self.process.wait()
        if code >= 0:
            return f"ended with status {code}"
        name = signal.Signals(-code).name
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")

    def stop(self) -> None:
        if self.trial is None:
            self.pipe.close()
            try:
                self.process.wait(timeout=2)
                return
            except subprocess.TimeoutExpired:
                pass
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def _visible_devices() -> list[str]:
    """The GPUs that this process may use, by what CUDA_VISIBLE_DEVICES calls them."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    return [str(i) for i in range(torch.cuda.device_count())]


class _Pickler(pickle.Pickler):
    """Refuses what a worker process could not import again."""

    def reducer_override(self, item: Any) -> Any:
        if getattr(item, "__module__", None) == "__main__" and hasattr(item, "__qualname__"):
            raise _not_importable(item.__qualname__)
        return NotImplemented


def _not_importable(name: str) -> StudyError:
    return StudyError(
        f"worker processes cannot import '{name}': it is defined in a notebook, in a function or at a prompt. Write it "
        "into a file (%%writefile evaluators.py in a notebook) and give its path, such as "
        f"'evaluators.py:{name.rpartition('.')[2]}'"
    )


def _transport(evaluator: Any) -> tuple[str, Any]:
    """How a worker gets the evaluator: by a path to import, else as a pickle."""
    if isinstance(evaluator, str):
        return "path", evaluator
    name = getattr(evaluator, "__qualname__", None)
    if name is not None:
        place = _place(evaluator.__module__)
        if place is None or "<" in name:
            raise _not_importable(name)
        return "path", f"{place}:{name}"
    import io

    stream = io.BytesIO()
    try:
        _Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(evaluator)
    except StudyError:
        raise
    except Exception as error:
        raise StudyError(
            f"the evaluator, a {type(evaluator).__name__}, cannot be sent to worker processes ({error}); give the path "
            "of a function that makes it, such as 'evaluators.py:make'"
        ) from error
    return "pickle", stream.getvalue()


def _place(module: str) -> str | None:
    """The module to import a name from; of a script its file."""
    if module != "__main__":
        return module
    file = getattr(sys.modules["__main__"], "__file__", None)
    return str(Path(file).resolve()) if file and file.endswith(".py") else None
