"""Schedules of a relaxation's temperature: functions from the step of the search, counted from 0, to a number."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Cosine", "Exponential", "Linear"]


@dataclass(frozen=True)
class Linear:
    """A straight line (GDAS, arXiv 1910.04465, section 4.2: from 10 to 0.1).

    Args:
        start: at step 0.
        end: at step `steps` and afterwards.
        steps: the length.

    Example:
        >>> from modularnas.nn.relax import Linear
        >>> [Linear(10, 1, steps=9)(step) for step in (0, 3, 9, 20)]
        [10.0, 7.0, 1.0, 1.0]
    """

    start: float
    end: float
    steps: int

    def __call__(self, step: int) -> float:
        """The temperature at a step."""
        return self.start + (self.end - self.start) * min(step / max(self.steps, 1), 1.0)


@dataclass(frozen=True)
class Exponential:
    """A decay by a rate, perhaps with restarts (ModularNAS' `GumbelAnnealingOptim`; SNAS, arXiv 1812.09926).

    Args:
        start: at step 0.
        rate: of the decay: start * exp(-rate * step).
        floor: the least value.
        every: steps between two changes.
        restart: steps after which it starts again; None: never.

    Example:
        >>> from modularnas.nn.relax import Exponential
        >>> [round(Exponential(8.0, rate=0.6931471805599453, floor=1.5)(step), 3) for step in range(4)]
        [8.0, 4.0, 2.0, 1.5]
    """

    start: float
    rate: float
    floor: float = 0.0
    every: int = 1
    restart: int | None = None

    def __call__(self, step: int) -> float:
        """The temperature at a step."""
        if self.restart is not None:
            step %= self.restart
        return max(self.floor, self.start * math.exp(-self.rate * (step // self.every * self.every)))


@dataclass(frozen=True)
class Cosine:
    """Half a cosine wave.

    Args:
        start: at step 0.
        end: at step `steps` and afterwards.
        steps: the length.

    Example:
        >>> from modularnas.nn.relax import Cosine
        >>> [round(Cosine(10, 0, steps=4)(step), 2) for step in (0, 1, 2, 4, 9)]
        [10.0, 8.54, 5.0, 0.0, 0.0]
    """

    start: float
    end: float
    steps: int

    def __call__(self, step: int) -> float:
        """The temperature at a step."""
        share = min(step / max(self.steps, 1), 1.0)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * share)) / 2
