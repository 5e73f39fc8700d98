"""From weights to choices: what is left when a relaxation ends.

The rule of DARTS (Liu, Simonyan and Yang 2018, arXiv 1806.09055, section 2.4): every edge takes its strongest candidate
other than none; every node keeps the edges whose strongest candidates are strongest. A tie goes to the first one, so
that the result is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["strongest", "strongest_edges"]


def strongest(weights: Mapping[str, float], count: int = 1, without: Sequence[str] = ()) -> list[str]:
    """The candidates with the largest weights, strongest first.

    Args:
        weights: of each candidate.
        count: how many.
        without: candidates that do not count, unless there are no others.

    Example:
        >>> from modularnas.nn.relax import strongest
        >>> strongest({"none": 0.6, "conv": 0.1, "pool": 0.3}, without=["none"])
        ['pool']
    """
    allowed = [name for name in weights if name not in without] or list(weights)
    return sorted(allowed, key=lambda name: -weights[name])[:count]


def strongest_edges(
    edges: Sequence[Mapping[str, float]], count: int = 2, without: Sequence[str] = ("none",)
) -> list[int]:
    """The edges of a node that stay, by position, in their order.

    Args:
        edges: of each edge, the weights of its candidates (times the weight of the edge, where it has one).
        count: how many stay.
        without: candidates that do not count.

    Example:
        >>> from modularnas.nn.relax import strongest_edges
        >>> strongest_edges([{"none": 0.9, "conv": 0.1}, {"none": 0.2, "conv": 0.8}, {"none": 0.5, "conv": 0.5}])
        [1, 2]
    """

    def strength(edge: Mapping[str, float]) -> float:
        return edge[strongest(edge, 1, without)[0]]

    return sorted(sorted(range(len(edges)), key=lambda i: -strength(edges[i]))[:count])
