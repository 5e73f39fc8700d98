"""How an evaluation can end other than with its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Failed", "Pruned"]


@dataclass(frozen=True)
class Failed:
    """Returned by an evaluator, or told to a study: the trial has no result, for this reason."""

    reason: str


@dataclass(frozen=True)
class Pruned:
    """Returned by an evaluator, or told to a study: the trial was ended early, with what was measured so far."""

    values: Mapping[str, float] | None = None
