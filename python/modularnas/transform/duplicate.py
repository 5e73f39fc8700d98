"""Copies of a module tree, as `copy.deepcopy` makes them, without its cost for what hardly needs copying."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

from torch import nn

from modularnas.nn.elastic import MOMENTARY, REPLACED, Elastic

__all__ = ["duplicate"]

_ATOMS = {int, float, str, bool, bytes, complex, type(None), type}
#: What a class may define to be copied in its own way.
_PROTOCOL = ("__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__", "__new__")
_PLAIN = tuple(getattr(nn.Module, name, None) for name in _PROTOCOL)


def duplicate(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy of a module.

    Args:
        module: the module.
        memo: as of `copy.deepcopy`: what stands for which object, by its id; tensors in it are shared.
    """
    known = memo.get(id(module))
    if known is not None:
        return known  # type: ignore[no-any-return]
    cls = type(module)
    elastic = issubclass(cls, Elastic)
    if not elastic and tuple(getattr(cls, name, None) for name in _PROTOCOL) != _PLAIN:
        return copy.deepcopy(module, memo)
    made = memo[id(module)] = cls.__new__(cls)
    state: dict[str, Any] = {}
    for name, value in module.__dict__.items():
        kind = type(value)
        if elastic and name in MOMENTARY:
            continue
        if elastic and name in REPLACED:
            state[name] = value
        elif kind in _ATOMS or (kind is tuple and all(type(part) in _ATOMS for part in value)):
            state[name] = value
        elif kind in (dict, OrderedDict, list, set) and not value:
            state[name] = kind()
        elif name == "_modules":
            state[name] = {key: None if child is None else duplicate(child, memo) for key, child in value.items()}
        elif name in ("_parameters", "_buffers"):
            state[name] = {key: memo[id(t)] if id(t) in memo else copy.deepcopy(t, memo) for key, t in value.items()}
        else:
            state[name] = copy.deepcopy(value, memo)
    made.__setstate__(state)
    return made
