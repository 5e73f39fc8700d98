"""A limit on the time of one evaluation."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

from modularnas.errors import EvaluationError
from modularnas.outcome import Failed

__all__ = ["Timeout"]


class _Late(BaseException):
    """Raised inside the evaluation; no `Exception`, so that the user's handlers do not stop it."""


class Timeout:
    """Around another evaluator: a trial that takes longer fails, and the study goes on.

    The evaluation is interrupted between two instructions of Python, in any thread and on any system: a single call
    into native code that never returns is not. This limits one evaluator, such as the measured part of a `Joined`;
    `study.optimize(trial_timeout_s=)` limits the whole trial, and with `processes=True` ends a worker that hangs in
    native code.

    Args:
        evaluator: the evaluator; it gets one trial at a time.
        seconds: how long a trial may take.

    Raises:
        EvaluationError: unless seconds is above 0.

    Example:
        >>> import time
        >>> def slow(point):
        ...     for _ in range(1000 * point["n"]):
        ...         time.sleep(0.01)
        ...     return 1.0
        >>> study = mn.Study(mn.SearchSpace({"n": mn.choice([0, 1])}), "grid", objectives={"score": "max"})
        >>> study.optimize(mn.evaluate.Timeout(mn.evaluate.Function(slow), seconds=0.1), trials=2, progress=False)
        >>> sorted(trial.state for trial in study.trials)
        ['complete', 'failed']
    """

    def __init__(self, evaluator: Any, seconds: float) -> None:
        if not seconds > 0:
            raise EvaluationError(f"seconds is {seconds!r}; expected a number above 0")
        self.evaluator = evaluator
        self.seconds = seconds

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The outcome of each trial; `Failed` for those that took too long."""
        return [self._evaluate(trial) for trial in trials]

    def _evaluate(self, trial: Any) -> Any:
        lock, ended = threading.Lock(), threading.Event()
        thread = ctypes.c_ulong(threading.get_ident())
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc

        def interrupt() -> None:
            with lock:
                if not ended.is_set():
                    raise_in(thread, ctypes.py_object(_Late))

        timer = threading.Timer(self.seconds, interrupt)
        timer.daemon = True
        try:
            try:
                timer.start()
                return self.evaluator.evaluate([trial])[0]
            finally:
                with lock:
                    ended.set()
                    raise_in(thread, None)  # what is under way must not arrive in another's code
                timer.cancel()
        except _Late:
            return Failed(f"trial {trial.number}: took longer than {self.seconds} s")
