"""Exact search: the best point of scores that add up, under any number of budgets, without evaluating anything.

The native half goes through a layered graph of all points by labels and Lagrangian bounds (`src/cost/optimum.rs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from modularnas import _core

__all__ = ["Solution", "exact", "exact_sweep"]

Tables = Mapping[Any, Mapping[Any, float] | Iterable[Any]]
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Solution:
    """A point that is provably best.

    Attributes:
        point: the point.
        score: the sum of its scores.
        costs: its attached costs by name; empty if the space has none.
    """

    point: _core.Point
    score: float
    costs: dict[str, Any]


def exact(
    space: _core.SearchSpace,
    scores: Tables,
    constraints: Mapping[str, Bounds] | None = None,
    *,
    direction: Literal["max", "min"] = "max",
) -> Solution:
    """The point with the best sum of scores among those within the constraints.

    Args:
        space: where to search; without real decisions.
        scores: decision to a table: a dict of choice to score, or one score a choice in their order. A pair of
            decisions may have a table of rows (choices of the first) and columns (choices of the second). Decisions
            left out, and inactive ones, score nothing.
        constraints: cost to `(low, high)`, both included, None for an open side, for costs of `space.metrics`:
            those of a supernet's space, and tables attached by `space.with_cost`.
        direction: whether the largest or the smallest sum is best.

    Raises:
        SpaceError: if no point is within the constraints (with the exact bounds of each cost), for tables that do not
            fit the space, or if the problem is too large.

    Example:
        >>> space = mn.SearchSpace({"op": mn.choice(["conv", "pool"]), "width": mn.choice([16, 32, 64])})
        >>> space = space.with_cost("ms", {("op", "width"): [[3, 6, 12], [1, 1, 2]]})
        >>> scores = {"op": {"conv": 0.9, "pool": 0.4}, "width": {16: 0.1, 32: 0.2, 64: 0.5}}
        >>> mn.search.exact(space, scores, {"ms": (None, 8)})
        Solution(point=Point({'op': 'conv', 'width': 32}), score=1.1, costs={'ms': 6})
    """
    return Solution(*_core.exact(space, scores, constraints, direction, None)[0])


def exact_sweep(
    space: _core.SearchSpace,
    scores: Tables,
    metric: str,
    constraints: Mapping[str, Bounds] | None = None,
    *,
    direction: Literal["max", "min"] = "max",
) -> list[Solution]:
    """Every best compromise between the sum of scores and one cost, the cheapest first.

    Each solution has the best score of all points that cost no more.

    Args:
        space: where to search; without real decisions.
        scores: as for `exact`.
        metric: the cost to trade against, one of `space.metrics`; less is better.
        constraints: as for `exact`.
        direction: whether the largest or the smallest sum is best.

    Raises:
        SpaceError: as `exact`.

    Example:
        >>> space = mn.SearchSpace({"a": mn.choice([1, 2, 3]), "b": mn.choice([1, 2, 3])})
        >>> space = space.with_cost("ms", {"a": [1, 2, 4], "b": [1, 3, 9]})
        >>> front = mn.search.exact_sweep(space, {"a": [1, 2, 3], "b": [1, 2, 3]}, "ms")
        >>> [(one.costs["ms"], one.score) for one in front]
        [(2, 2.0), (3, 3.0), (5, 4.0), (7, 5.0), (13, 6.0)]
    """
    return [Solution(*found) for found in _core.exact(space, scores, constraints, direction, metric)]
