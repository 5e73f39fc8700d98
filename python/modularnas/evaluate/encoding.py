"""Encodings: how a predictor sees a point, as a row of numbers.

White et al. 2020, "A Study on Encodings for Neural Architecture Search" (arXiv 2007.04965): the one-hot and adjacency
encodings say which choice stands where, the path encoding which sequences of operations lead from input to output, so
isomorphic cells have the same row. Costs (parameters, multiply-accumulates) are cheap and say much (Ning et al. 2021,
arXiv 2008.03064).

Vocabularies are those of the points that a predictor is fitted to, sorted: what no point had teaches nothing. The
papers enumerate all paths, whose number is exponential in the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modularnas import _core
from modularnas.errors import EvaluationError

__all__ = ["ENCODINGS", "Edges", "Encoding", "Graph", "cell_edges", "encoding_of"]

#: The edges of a cell: (source node, target node, operation), input 0, output the largest number.
Edges: TypeAlias = list[tuple[int, int, Any]]
Graph: TypeAlias = Callable[[Any], Edges]
_Rows: TypeAlias = NDArray[np.float64]
_Columns: TypeAlias = list[tuple[int, int, bool]]

_EDGE = re.compile(r"(.*)edge_(\d+)_(\d+)$")


def cell_edges(point: Mapping[str, Any]) -> Edges:
    """The edges of a cell whose decisions are named as those of `mn.benchmarks.NASBench101` and `NASBench201`.

    `edge_0_2` is an operation (`"none"`: no edge), or 1 where the edge exists and `op_2` is what node 2 does.

    Example:
        >>> mn.evaluate.cell_edges({"edge_0_1": "conv", "edge_0_2": "none", "edge_1_2": "pool"})
        [(0, 1, 'conv'), (1, 2, 'pool')]
        >>> mn.evaluate.cell_edges({"edge_0_1": 1, "edge_0_2": 0, "edge_1_2": 1, "op_1": "conv"})
        [(0, 1, 'conv'), (1, 2, 'output')]
    """
    found = []
    for name, value in point.items():
        match = _EDGE.match(name)
        if match and value not in ("none", 0):
            source, target = int(match[2]), int(match[3])
            found.append((source, target, value if isinstance(value, str) else point.get(f"op_{target}", "output")))
    return found


class Encoding:
    """Rows for points; `columns` says as (start, stop, numeric) which of them belong together."""

    columns: _Columns

    def learn(self, points: Sequence[Any]) -> None:
        """Takes the vocabulary of these points."""

    def rows(self, points: Sequence[Any]) -> _Rows:
        """One row a point, shape (n, columns)."""
        raise NotImplementedError


class _OneHot(Encoding):
    """The space's own: a mark for each choice, a number for each number."""

    def __init__(self, space: _core.SearchSpace, graph: Graph) -> None:
        self.space = space
        self.columns = _core.encoded_columns(space)

    def rows(self, points: Sequence[Any]) -> _Rows:
        return self.space.encode(list(points))


class _Marks(Encoding):
    """A mark for each feature of a vocabulary that a point has."""

    def __init__(self, space: _core.SearchSpace, graph: Graph) -> None:
        self.graph = graph
        if graph is cell_edges and not any(_EDGE.match(decision.name) for decision in space.decisions):
            raise EvaluationError(
                f"{space!r} has no decisions named edge_0_1 and so on, which this encoding reads; give graph=, a "
                "function from a point to its edges (source, target, operation)"
            )

    def features(self, point: Any) -> set[Any]:
        raise NotImplementedError

    def learn(self, points: Sequence[Any]) -> None:
        vocabulary = sorted({feature for point in points for feature in self.features(point)}, key=repr)
        self._places = {feature: i for i, feature in enumerate(vocabulary)}
        self.columns = [(0, len(vocabulary), False)]

    def rows(self, points: Sequence[Any]) -> _Rows:
        rows = np.zeros((len(points), len(self._places)))
        for row, point in zip(rows, points, strict=True):
            row[[self._places[feature] for feature in self.features(point) if feature in self._places]] = 1.0
        return rows


class _Adjacency(_Marks):
    """A mark for each edge with its operation."""

    def features(self, point: Any) -> set[Any]:
        return set(self.graph(point))


class _Path(_Marks):
    """A mark for each sequence of operations from the input to the output."""

    def features(self, point: Any) -> set[Any]:
        leaving: dict[int, list[tuple[int, Any]]] = {}
        output = 0
        for source, target, operation in self.graph(point):
            leaving.setdefault(source, []).append((target, operation))
            output = max(output, target)
        paths: set[Any] = set()
        open_ends: list[tuple[int, tuple[Any, ...]]] = [(0, ())]
        while open_ends:
            node, path = open_ends.pop()
            if node == output and path:
                paths.add(path)
            open_ends += [(target, (*path, operation)) for target, operation in leaving.get(node, [])]
        return paths


class _Costs(Encoding):
    """The logarithms of the costs that the space knows, standardised."""

    def __init__(self, space: _core.SearchSpace, graph: Graph) -> None:
        if not space.metrics:
            raise EvaluationError(
                f"{space!r} knows no costs; take supernet.space, attach some by space.with_cost, or give a function of "
                "points as the encoding"
            )
        self.space = space
        self.columns = [(i, i + 1, True) for i in range(len(space.metrics))]

    def learn(self, points: Sequence[Any]) -> None:
        logs = self._logs(points)
        self._mean, deviation = logs.mean(0), logs.std(0)
        self._unit = np.where(deviation > 0, deviation, 1.0)

    def rows(self, points: Sequence[Any]) -> _Rows:
        return np.asarray((self._logs(points) - self._mean) / self._unit)

    def _logs(self, points: Sequence[Any]) -> _Rows:
        costs = self.space.cost(list(points))
        return np.log1p(np.stack([costs[name] for name in self.space.metrics], 1).astype(np.float64))


class _Function(Encoding):
    """Numbers that a function of the user gives, standardised."""

    def __init__(self, function: Callable[[Sequence[Any]], ArrayLike]) -> None:
        self.function = function

    def learn(self, points: Sequence[Any]) -> None:
        rows = self._raw(points)
        self._mean, deviation = rows.mean(0), rows.std(0)
        self._unit = np.where(deviation > 0, deviation, 1.0)
        self.columns = [(i, i + 1, True) for i in range(rows.shape[1])]

    def rows(self, points: Sequence[Any]) -> _Rows:
        return np.asarray((self._raw(points) - self._mean) / self._unit)

    def _raw(self, points: Sequence[Any]) -> _Rows:
        rows = np.asarray(self.function(points), np.float64)
        if rows.ndim != 2 or len(rows) != len(points) or not np.isfinite(rows).all():
            raise EvaluationError(
                f"the encoding gave an array of shape {rows.shape} for {len(points)} points; expected finite "
                "numbers of shape (points, columns)"
            )
        return rows


class _Together(Encoding):
    """Several encodings side by side."""

    def __init__(self, parts: Sequence[Encoding]) -> None:
        self.parts = parts

    def learn(self, points: Sequence[Any]) -> None:
        self.columns = []
        start = 0
        for part in self.parts:
            part.learn(points)
            self.columns += [(start + low, start + high, numeric) for low, high, numeric in part.columns]
            start += max((high for _, high, _ in part.columns), default=0)

    def rows(self, points: Sequence[Any]) -> _Rows:
        return np.concatenate([part.rows(points) for part in self.parts], 1)


#: By name: what is made of a space and a function from a point to edges.
ENCODINGS: dict[str, Callable[[_core.SearchSpace, Graph], Encoding]] = {
    "one_hot": _OneHot,
    "adjacency": _Adjacency,
    "path": _Path,
    "costs": _Costs,
}


def encoding_of(given: Any, space: _core.SearchSpace, graph: Graph) -> Encoding:
    """The encoding that is meant: a name, a function of points, or a list of them to stand side by side.

    Raises:
        EvaluationError: for another one, or one that the space has not.
    """
    if isinstance(given, (list, tuple)):
        return _Together([encoding_of(one, space, graph) for one in given])
    if isinstance(given, str) and given in ENCODINGS:
        return ENCODINGS[given](space, graph)
    if callable(given):
        return _Function(given)
    raise EvaluationError(
        f"encoding is {given!r}; expected one of {', '.join(ENCODINGS)}, a function of points, or a list"
    )
