"""The registry of candidate ops: name to a function from a slot to a module."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops.slot import Slot

__all__ = ["Build", "build", "find", "names", "register"]

Build = Callable[[Slot], nn.Module]
AnyBuild = TypeVar("AnyBuild", bound=Build)

_OPS: dict[str, Build] = {}


def register(name: str) -> Callable[[AnyBuild], AnyBuild]:
    """Registers a candidate op: a function (or module class) that builds a module from a `Slot`.

    Registering a name again replaces it, so that a notebook cell can be run twice.

    Example:
        >>> @mn.ops.register("conv_1x1_relu")
        ... def conv_1x1_relu(slot):
        ...     return nn.Sequential(nn.Conv2d(slot.in_channels, slot.out_channels, 1, stride=slot.stride), nn.ReLU())
        >>> "conv_1x1_relu" in mn.ops.names()
        True
    """
    if not isinstance(name, str) or not name or name == "original":
        raise RuleError(f"an op is registered as {name!r}; expected a non-empty name other than 'original'")

    def add(build: AnyBuild) -> AnyBuild:
        _OPS[name] = build
        return build

    return add


def names() -> list[str]:
    """The names of all registered ops, sorted."""
    return sorted(_OPS)


def find(name: str) -> Build:
    """The function behind a name.

    Raises:
        RuleError: with near matches, if there is none.
    """
    if name not in _OPS:
        near = difflib.get_close_matches(name, _OPS, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(names())}"
        raise RuleError(f"there is no candidate op {name!r}; {hint}")
    return _OPS[name]


def build(name: str, slot: Slot) -> nn.Module:
    """The module of an op for a slot.

    Example:
        >>> mn.ops.build("conv_3x3", mn.Slot(3, 8, stride=2, bias=False))
        Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
    """
    return find(name)(slot)
