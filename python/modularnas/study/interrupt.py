"""Ctrl-C while a study runs: once, and the running trials are finished; twice, and they are not."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

__all__ = ["Interrupts"]


class Interrupts:
    """Takes SIGINT over from Python's own handler, in the main thread; a handler of the user's is left alone."""

    def __init__(self, stop_at_once: Callable[[], None] = lambda: None, *, talk: bool = False) -> None:
        self.stop_at_once = stop_at_once
        self.talk = talk
        self.signals = 0
        self.raised = False
        self.installed = False

    def __enter__(self) -> Interrupts:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self.installed = True
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1
        if self.signals == 1:
            if self.talk:
                print("\nCtrl-C: finishing the running trials; again to stop at once", file=sys.stderr, flush=True)
            return
        self.stop_at_once()
        raise KeyboardInterrupt

    def poll(self) -> None:
        """Called by the loop between evaluations; raises KeyboardInterrupt after the first signal, once."""
        if self.signals and not self.raised:
            self.raised = True
            raise KeyboardInterrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.signals and not self.raised and kind is None:
            raise KeyboardInterrupt
