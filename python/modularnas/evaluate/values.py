"""What a score may be: one finite number, or a dict of them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modularnas.errors import EvaluationError
from modularnas.outcome import Failed, Pruned

__all__ = ["metrics_of", "values_of"]


def values_of(score: Any, trial: Any, metric: str, function: str = "score") -> dict[str, float] | Failed | Pruned:
    """The metrics in what a user's function returned for a trial.

    Args:
        score: a number, a tensor with one element on any device, a dict of them, `mn.Failed` or `mn.Pruned`.
        trial: the trial, for messages.
        metric: the name of a bare number.
        function: what returned it, for messages.

    Returns:
        The metrics; `Failed`, naming the trial, if one of them is not finite.

    Raises:
        EvaluationError: for anything else, naming the trial.
    """
    if isinstance(score, (Failed, Pruned)):
        return score
    values = {}
    for name, value in (score if isinstance(score, Mapping) else {metric: score}).items():
        number = _number(value)
        if number is None:
            raise EvaluationError(
                f"trial {trial.number}: {function} returned {_shown(value)} for '{name}'; "
                "expected a number or a dict of numbers"
            )
        if not math.isfinite(number):
            return Failed(f"trial {trial.number}: {function} returned {number} for '{name}'; expected a finite number")
        values[str(name)] = number
    return values


def metrics_of(outcome: Any, trial: Any, user: str) -> Mapping[str, float] | Failed | Pruned:
    """The metrics that an evaluator inside another one gave for a trial.

    Raises:
        EvaluationError: if it gave a bare number, which has no name to work with.
    """
    if isinstance(outcome, (Mapping, Failed, Pruned)):
        return outcome
    raise EvaluationError(
        f"trial {trial.number}: the evaluator inside {user} returned {_shown(outcome)}; expected a dict of metrics, "
        'such as {"accuracy": 0.9}'
    )


def _number(value: Any) -> float | None:
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_meta or value.dtype in (torch.bool, torch.complex64, torch.complex128):
            return None
        value = value.item()
    return None if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and {value.dtype} on {value.device}"
    return repr(value)
