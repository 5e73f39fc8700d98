"""What the tests of worker processes evaluate; worker processes import it by its path."""

import os
import pathlib
import signal
import tempfile
import time

import torch

import modularnas as mn


def total(point):
    """The sum of a point."""
    return float(sum(point.values()))


def where(point):
    """Which process evaluates, with what."""
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return {"s": total(point), "pid": os.getpid(), "device": float(device or -1), "threads": torch.get_num_threads()}


def fail(point):
    """Raises for some points."""
    if point["d0"] == 1:
        raise KeyError("mine")
    return total(point)


def die(point):
    """Kills the process for some points."""
    if point["d0"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return total(point)


def die_once(point):
    """Kills the process the first time that it meets some points; a file remembers which."""
    mark = pathlib.Path(tempfile.gettempdir(), f"modularnas-{os.getppid()}-{'-'.join(map(str, point.values()))}")
    if point["d0"] == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    mark.unlink(missing_ok=True)
    return total(point)


def hang(point):
    """Never returns for some points, and lets nothing interrupt it."""
    if point["d0"] == 1:
        time.sleep(1000)
    return total(point)


class Reporting:
    """Reports on the way."""

    def __init__(self, steps=4):
        self.steps = steps

    def evaluate(self, trials):
        return [self.one(trial) for trial in trials]

    def one(self, trial):
        for step in range(self.steps):
            trial.report(step, total(trial.point))
            if trial.should_prune():
                return mn.Pruned(total(trial.point))
        return total(trial.point)


def broken():
    """Cannot be made."""
    raise RuntimeError("no data here")
