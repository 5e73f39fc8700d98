"""Decisions written on a command line: `lr=log(1e-4,1e-1)`, `depth=int(1,4)`, `opt=choice(sgd,adam)`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from modularnas import _core
from modularnas.errors import SpaceError

__all__ = ["parse_parameter"]

_FORMS = "log(low,high), real(low,high), int(low,high[,step]), choice(a,b,…)"


def parse_parameter(text: str) -> tuple[str, _core.Decision]:
    """Name and decision.

    Raises:
        SpaceError: saying which forms there are.

    Example:
        >>> from modularnas.tuning import parse_parameter
        >>> parse_parameter("lr=log(1e-4,1e-1)")[1].log
        True
        >>> parse_parameter("opt=choice(sgd,adam,3)")[1].choices
        ('sgd', 'adam', 3)
    """
    match = re.fullmatch(r"\s*([\w.-]+)\s*=\s*(\w+)\s*\((.*)\)\s*", text)
    if match is None or match[2] not in _KINDS:
        raise SpaceError(f"parameter '{text}'; expected NAME=KIND(…) with one of {_FORMS}")
    name, kind, inner = match.groups()
    values = [_value(part.strip()) for part in inner.split(",")]
    try:
        decision = _KINDS[kind](values)
        _core.SearchSpace({name: decision})  # checks it
        return name, decision
    except (TypeError, ValueError) as error:
        raise SpaceError(f"parameter '{text}': {error}; expected one of {_FORMS}") from None


def _value(text: str) -> Any:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), text)


def _whole(values: list[Any]) -> _core.Decision:
    low, high, step = (*values, 1) if len(values) == 2 else values
    return _core.integer(low, high, step=step)


def _interval(values: list[Any], *, log: bool) -> _core.Decision:
    low, high = values
    return _core.real(float(low), float(high), log=log)


_KINDS: dict[str, Callable[[list[Any]], _core.Decision]] = {
    "log": lambda values: _interval(values, log=True),
    "real": lambda values: _interval(values, log=False),
    "int": _whole,
    "choice": lambda values: _core.choice(values),
}
