"""Pareto dominance of arrays: the front, the ranks of non-dominated sorting, the hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modularnas import _core
from modularnas.errors import EvaluationError

__all__ = ["hypervolume", "pareto_front", "pareto_ranks"]

_Floats = NDArray[np.float64]


def pareto_front(values: ArrayLike, directions: str | Sequence[str] = "min") -> NDArray[np.int64]:
    """The rows that no other row dominates.

    Args:
        values: one row a candidate, one column an objective.
        directions: `"min"` or `"max"`, for all objectives or for each.

    Returns:
        Their indices, ascending. Equal rows do not dominate one another: all of them are there.

    Raises:
        EvaluationError: for an array that has not two dimensions, NaN in it, or wrong directions.

    Example:
        >>> accuracy_and_macs = [[0.91, 300], [0.93, 500], [0.90, 400]]
        >>> mn.pareto_front(accuracy_and_macs, ["max", "min"]).tolist()
        [0, 1]
    """
    return _core.pareto_front(_losses(values, directions))


def pareto_ranks(values: ArrayLike, directions: str | Sequence[str] = "min") -> NDArray[np.int64]:
    """The rank of every row: 0 on the front, 1 on the front of what is left without it, and so on.

    Args:
        values: one row a candidate, one column an objective.
        directions: `"min"` or `"max"`, for all objectives or for each.

    Raises:
        EvaluationError: for an array that has not two dimensions, NaN in it, or wrong directions.

    Example:
        >>> mn.pareto_ranks([[1, 4], [2, 5], [4, 1], [5, 5]]).tolist()
        [0, 1, 0, 2]
    """
    return _core.pareto_ranks(_losses(values, directions))


def hypervolume(values: ArrayLike, reference: ArrayLike, directions: str | Sequence[str] = "min") -> float:
    """How much the rows dominate together, up to a reference; the larger, the better the front.

    Args:
        values: one row a candidate, one column an objective. Rows that are not better than the reference in every
            objective add nothing.
        reference: one value an objective, worse than what is of interest.
        directions: `"min"` or `"max"`, for all objectives or for each.

    Raises:
        EvaluationError: for an array that has not two dimensions, NaN in it, another number of references, or wrong
            directions.

    Example:
        >>> mn.hypervolume([[1, 2], [2, 1]], reference=[3, 3])
        3.0
    """
    losses = _losses(values, directions)
    point = _floats("reference", reference)
    if point.shape != losses.shape[1:]:
        raise EvaluationError(f"reference has shape {point.shape}; expected ({losses.shape[1]},), one an objective")
    if np.isnan(point).any():
        raise EvaluationError(f"reference is {point.tolist()}; expected numbers, not NaN")
    signs = _signs(directions, len(point))
    return _core.pareto_hypervolume(losses, point if signs is None else point * signs)


def _losses(values: ArrayLike, directions: str | Sequence[str]) -> _Floats:
    """The values, turned so that smaller is better, in one piece of memory."""
    rows = _floats("values", values)
    if rows.ndim != 2:
        raise EvaluationError(f"values has shape {rows.shape}; expected (candidates, objectives)")
    if np.isnan(rows.min(initial=0.0)):
        i = int(np.isnan(rows).any(1).argmax())
        raise EvaluationError(f"values has NaN in row {i}; leave out candidates without a measurement")
    signs = _signs(directions, rows.shape[1])
    return np.ascontiguousarray(rows if signs is None else rows * signs)


def _floats(name: str, values: ArrayLike) -> _Floats:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{name} is no array of numbers ({error})") from error


def _signs(directions: str | Sequence[str], objectives: int) -> NDArray[Any] | None:
    """One factor an objective that makes smaller better; None where all are minimised."""
    each = [directions] * objectives if isinstance(directions, str) else list(directions)
    if len(each) != objectives or not {*each} <= {"min", "max"}:
        raise EvaluationError(
            f'directions is {directions!r}; expected "min" or "max", for all {objectives} or for each'
        )
    return np.array([-1.0 if one == "max" else 1.0 for one in each]) if "max" in each else None
