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
    """Called with the number of finished trials; shows it with the best value and the rate."""

    def __init__(self, study: Study, trials: int) -> None:
        self.study = study
        self.trials = trials
        self.started_s = time.monotonic()
        self.first = study._engine.finished
        self.tenth = -1
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
        tenth = 10 * finished // max(self.trials, 1)
        if tenth > self.tenth:
            self.tenth = tenth
            rate = (finished - self.first) / max(time.monotonic() - self.started_s, 1e-9)
            text = f"{finished}/{self.trials} trials, {self.study._best_text()}, {rate:.3g} trials/s"
            print(text, file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self(self.study._engine.finished)
        if self.bar is not None:
            self.bar.close()
