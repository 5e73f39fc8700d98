"""What to do when an evaluation goes wrong: which exceptions are recorded, how often a trial is tried, for how long."""

from __future__ import annotations

import ctypes
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from modularnas.outcome import Failed

__all__ = ["Faults", "Guarded", "interrupt_thread", "out_of_memory"]

#: How often a trial is tried whose worker died, if nothing else is said: mostly the machine is to blame, not the trial.
LOST_WORKERS = 5

#: How torch says that the host has no memory left; a device's has an exception class.
_HOST_MEMORY = "DefaultCPUAllocator: can't allocate memory"


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the host or of a device. Frees what torch keeps on the device."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return True
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _HOST_MEMORY in str(error))


@dataclass
class Faults:
    """The rules of one run.

    Args:
        catch: exceptions that are recorded; running out of memory is in any case.
        attempts: how often a trial is tried; None: once, and `LOST_WORKERS` times if its worker died.
        trial_timeout_s: how long one evaluation may take.
    """

    catch: tuple[type[Exception], ...] = ()
    attempts: int | None = None
    trial_timeout_s: float | None = None
    _tried: dict[int, int] = field(default_factory=dict)

    def try_again(self, number: int, *, worker_died: bool = False) -> bool:
        """Counts a failed attempt at a trial; says whether there is another one."""
        self._tried[number] = self._tried.get(number, 0) + 1
        return self._tried[number] < (self.attempts or (LOST_WORKERS if worker_died else 1))

    def forget(self, number: int) -> None:
        """Ends the count for a trial that is finished."""
        self._tried.pop(number, None)

    def failure(self, error: BaseException, text: str | None = None) -> Failed:
        """The outcome of a trial whose evaluation raised. An exception that is not to be recorded is raised again."""
        if not (isinstance(error, self.catch) or out_of_memory(error)):
            raise error
        text = text or "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return Failed(f"{type(error).__name__}: {error}\n{text}")

    def too_late(self) -> Failed:
        """The outcome of a trial whose time was up."""
        return Failed(f"the evaluation took longer than trial_timeout_s={self.trial_timeout_s:g}")


class _OutOfTime(BaseException):
    """Raised in a thread whose trial takes too long; no `Exception`, so that evaluators do not swallow it."""


def interrupt_thread(ident: int, kind: type[BaseException] | None) -> None:
    """Raises an exception in a thread at its next Python instruction; None takes back one that was not raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), kind and ctypes.py_object(kind))


@contextmanager
def _deadline(seconds: float | None) -> Iterator[None]:
    """Raises `_OutOfTime` in this thread if the block takes longer."""
    if seconds is None:
        yield
        return
    thread, lock, running = threading.get_ident(), threading.Lock(), True

    def expire() -> None:
        with lock:
            if running:
                interrupt_thread(thread, _OutOfTime)

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            running = False
        timer.cancel()
        interrupt_thread(thread, None)


class Guarded:
    """An evaluator around an evaluator, for threads: deadlines, further attempts, interruption, one device a thread.

    A thread is interrupted at its next Python instruction; a long call of native code ends by itself first. Processes
    have no such limit.
    """

    def __init__(self, evaluator: Any, faults: Faults) -> None:
        self.faults = faults
        self.threads: set[int] = set()
        #: The device of each thread. By its number: what is local to a thread in Python ends with each call of a thread
        #: that Python did not start.
        self._devices: dict[int, int] = {}
        self._lock = threading.Lock()
        evaluate: Callable[[Sequence[Any]], Any] | None = getattr(evaluator, "evaluate", None)
        self._evaluate = evaluate or (lambda trials: [evaluator(trial.point) for trial in trials])

    def evaluate(self, trials: Sequence[Any]) -> Sequence[Any]:
        """One outcome a trial."""
        thread = threading.get_ident()
        self._choose_device()
        self.threads.add(thread)
        try:
            if self.faults.trial_timeout_s is None and self.faults.attempts is None:
                outcomes: Sequence[Any] = self._evaluate(trials)
                return outcomes
            return [self._alone(trial) for trial in trials]
        finally:
            self.threads.discard(thread)

    def interrupt(self) -> None:
        """Raises KeyboardInterrupt in every thread that evaluates."""
        for thread in list(self.threads):
            interrupt_thread(thread, KeyboardInterrupt)

    def _alone(self, trial: Any) -> Any:
        while True:
            try:
                with _deadline(self.faults.trial_timeout_s):
                    outcomes = self._evaluate([trial])
                self.faults.forget(trial.number)
                return next(iter(outcomes))
            except _OutOfTime:
                failed = self.faults.too_late()
            except Exception as error:
                failed = self.faults.failure(error)
            if not self.faults.try_again(trial.number):
                self.faults.forget(trial.number)
                return failed

    def _choose_device(self) -> None:
        """Gives every new thread the next GPU as its current one."""
        import torch

        thread = threading.get_ident()
        with self._lock:
            if thread in self._devices:
                return
            number = self._devices[thread] = len(self._devices)
        if torch.cuda.is_available() and torch.cuda.device_count() > 1:
            torch.cuda.set_device(number % torch.cuda.device_count())
