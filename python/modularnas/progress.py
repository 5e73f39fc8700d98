"""A progress bar for the loop of a study: tqdm's where it is installed (terminal and notebook), else plain lines."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modularnas.study import Study

__all__ = ["Progress"]


class Progress:
    """Called with the number of finished trials; shows it with the best value, the rate and the time left.

    `trials` may be None, where something else than their number ends the run.
    """

    def __init__(self, study: Study, trials: int | None) -> None:
        self.study = study
        self.trials = trials
        self.started_s = time.monotonic()
        self.first = study._engine.finished
        self.shown: int | None = None
        self.bar: Any = None

    def __enter__(self) -> Progress:
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            return self
        self.bar = tqdm(total=self.trials, initial=self.first, unit="trial", file=sys.stderr)
        return self

    def __call__(self, finished: int) -> None:
        """Shows that so many trials of the study are finished."""
        if self.bar is not None:
            self.bar.set_postfix_str(self.study._best_text(), refresh=False)
            self.bar.update(finished - self.bar.n)
            return
        # Ten lines in all; without a known end one whenever there are twice as many.
        part = finished.bit_length() if self.trials is None else 10 * finished // max(self.trials, 1)
        if part != self.shown:
            self.shown = part
            print(self._line(finished), file=sys.stderr, flush=True)

    def _line(self, finished: int) -> str:
        rate = (finished - self.first) / max(time.monotonic() - self.started_s, 1e-9)
        of = "" if self.trials is None else f"/{self.trials}"
        left = "" if self.trials is None or rate == 0 else f", {_span((self.trials - finished) / rate)} left"
        return f"{finished}{of} trials, {self.study._best_text()}, {rate:.3g} trials/s{left}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self(self.study._engine.finished)
        if self.bar is not None:
            self.bar.close()


def _span(seconds: float) -> str:
    """A time for people: 42 s, 12 min, 3.5 h."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
