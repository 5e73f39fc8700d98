"""What evaluators are given: a trial, and a way from its point to a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from modularnas.errors import EvaluationError

__all__ = ["Candidate", "Source", "candidates", "network_of"]

#: A supernet, or a function from a point to a network.
Source: TypeAlias = Any


@dataclass(frozen=True)
class Candidate:
    """A trial without a study: what an evaluator reads of one.

    Attributes:
        number: its number.
        point: the point.
        fidelity: the share of a full evaluation, above 0 and up to 1.
        parent: the number of the trial that it descends from.
    """

    number: int
    point: Any
    fidelity: float = 1.0
    parent: int | None = None


def candidates(points: Sequence[Any]) -> list[Candidate]:
    """The points as candidates, numbered from 0."""
    return [Candidate(number, point) for number, point in enumerate(points)]


def network_of(source: Source, user: str) -> Callable[[Any], nn.Module]:
    """From a point to a network of its own: `derive` of a supernet, or the given function.

    Raises:
        EvaluationError: for anything else; `user` is the evaluator that the message names.
    """
    derive = getattr(source, "derive", None)
    if derive is not None and hasattr(source, "space"):
        return derive  # type: ignore[no-any-return]
    if not callable(source) or isinstance(source, nn.Module):
        given = type(source).__name__
        raise EvaluationError(
            f"{user} is given a {given}; expected a supernet from mn.rewrite or a function of a point that returns "
            "a network"
        )

    def build(point: Any) -> nn.Module:
        net = source(point)
        if not isinstance(net, nn.Module):
            raise EvaluationError(f"{user}: the build function returned {net!r} for {point!r}; expected an nn.Module")
        return net

    return build
