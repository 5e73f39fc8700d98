"""The run folder: what a run is, where it ran, what happened, and a folder for each stage.

pipeline.json      the stages with their arguments, and the seed
environment.json   versions, machine, command, commit; a list, one entry for each start
log.txt            what happened when
stages/NAME/       result.json, tensors.pt, checkpoint.pt, metrics.jsonl, events of TensorBoard, error.txt, and
                   whatever the stage wrote, such as study.db
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from modularnas import _core
from modularnas.errors import PipelineError
from modularnas.pipeline.result import Stored, read_result, write_atomically

__all__ = ["RunFolder", "environment"]

#: How long a run waits for the processes of one that was killed, in seconds.
_PATIENCE_S = 10.0


class RunFolder:
    """A run folder in use; one run at a time has it."""

    def __init__(self, out: str | Path) -> None:
        self.out = Path(out)
        self.stages = self.out / "stages"
        self._lock: int | None = None

    def __enter__(self) -> RunFolder:
        if self.out.exists() and not self.out.is_dir():
            raise PipelineError(f"'{self.out}' is a file; expected a folder for the run")
        self.stages.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        if not _locked(self._lock):
            os.close(self._lock)
            raise PipelineError(f"'{self.out}' is in use by another run; wait for it, or give another folder")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def stage(self, name: str) -> Path:
        """The folder of a stage."""
        return self.stages / name

    def describe(self, record: dict[str, Any]) -> None:
        """Writes down the pipeline and this start of it."""
        with write_atomically(self.out / "pipeline.json") as path:
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        starts = []
        known = self.out / "environment.json"
        if known.is_file():
            starts = json.loads(known.read_text(encoding="utf-8"))
        with write_atomically(known) as path:
            path.write_text(json.dumps([*starts, environment()], indent=2) + "\n", encoding="utf-8")

    def find(self, name: str, key: str) -> Stored | None:
        """The result of a stage with this key, also one that was put aside; None if it has to be made."""
        for folder in (self.stage(name), self._aside(name, key)):
            stored = read_result(folder)
            if stored is not None and stored.key == key and stored.intact():
                if folder != self.stage(name):
                    self._put_aside(name)
                    folder.rename(self.stage(name))
                    return read_result(self.stage(name))
                return stored
        return None

    def prepare(self, name: str, key: str, *, again: bool) -> None:
        """Makes the folder of a stage that is about to run; one that was cut short goes on in it."""
        begun = self.stage(name) / "key"
        if again or not begun.is_file() or begun.read_text(encoding="utf-8") != key:
            self._put_aside(name)
            self.stage(name).mkdir(parents=True)
            with write_atomically(begun) as path:
                path.write_text(key, encoding="utf-8")
        (self.stage(name) / "error.txt").unlink(missing_ok=True)

    def log(self, line: str) -> None:
        """Adds a line with the time to `log.txt`."""
        with open(self.out / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def _aside(self, name: str, key: str) -> Path:
        return self.stages / ".replaced" / f"{name}-{key[:16]}"

    def _put_aside(self, name: str) -> None:
        folder = self.stage(name)
        if not folder.exists():
            return
        begun = folder / "key"
        key = begun.read_text(encoding="utf-8") if begun.is_file() else f"{time.time_ns():x}"
        target = self._aside(name, key)
        while target.exists():
            target = target.with_name(f"{target.name}-")
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)


def environment() -> dict[str, Any]:
    """Where this process runs: versions, machine, command, and the commit of the folder it was started in."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "commit": _commit(),
        "modularnas": _core.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "n_cpus": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _commit() -> str | None:
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _locked(descriptor: int) -> bool:
    """Takes the lock; the system frees it when this process and those that inherited it have ended."""
    try:
        import fcntl
    except ModuleNotFoundError:  # no such locks here
        return True
    os.set_inheritable(descriptor, True)
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.1)
        else:
            return True
