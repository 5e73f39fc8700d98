"""A progress bar for the loop of a study: tqdm's or rich's, else plain lines.

Where both are installed it is tqdm's; both know a terminal from a notebook.
"""

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
        for make in (_tqdm, _rich):
            try:
                self.bar = make(self.trials, self.first)
                break
            except ModuleNotFoundError:
                pass
        return self

    def __call__(self, finished: int) -> None:
        """Shows that so many trials of the study are finished."""
        if self.bar is not None:
            self.bar.show(finished, self.study._best_text())
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


class _Tqdm:
    """A bar of tqdm."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.close = bar.close

    def show(self, finished: int, best: str) -> None:
        self.bar.set_postfix_str(best, refresh=False)
        self.bar.update(finished - self.bar.n)


def _tqdm(trials: int | None, first: int) -> _Tqdm:
    from tqdm.auto import tqdm

    return _Tqdm(tqdm(total=trials, initial=first, unit="trial", file=sys.stderr))


class _Rich:
    """A bar of rich."""

    def __init__(self, bar: Any, task: Any) -> None:
        self.bar, self.task = bar, task
        self.close = bar.stop

    def show(self, finished: int, best: str) -> None:
        task = self.bar.tasks[0]
        self.bar.update(self.task, completed=finished, best=best, rate=f"{task.speed or 0.0:.3g} trials/s")


def _rich(trials: int | None, first: int) -> _Rich:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[best]}, {task.fields[rate]},"),
        TimeRemainingColumn(),
    ]
    bar = Progress(*columns, console=Console(stderr=True))
    bar.start()
    return _Rich(bar, bar.add_task("", total=trials, completed=first, best="", rate=""))


def _span(seconds: float) -> str:
    """A time for people: 42 s, 12 min, 3.5 h."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
