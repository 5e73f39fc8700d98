"""Copies of a module tree, as `copy.deepcopy` makes them, without its cost for what hardly needs copying."""

from __future__ import annotations

import copy
import gc
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from modularnas.nn.elastic import MOMENTARY, REPLACED, Elastic

__all__ = ["duplicate", "without_collection"]

_ATOMS = {int, float, str, bool, bytes, complex, type(None), type}
_CONTAINERS = {dict, OrderedDict, list, set}
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
        if kind in _ATOMS or (kind is tuple and _ATOMS.issuperset(map(type, value))) or (elastic and name in REPLACED):
            state[name] = value
        elif kind in _CONTAINERS and not value:
            state[name] = kind()
        elif name == "_modules":
            state[name] = {key: None if child is None else duplicate(child, memo) for key, child in value.items()}
        elif name in ("_parameters", "_buffers"):
            state[name] = {key: memo[id(t)] if id(t) in memo else _copied(t, memo) for key, t in value.items()}
        else:
            state[name] = copy.deepcopy(value, memo)
    made.__setstate__(state)
    return made


def _copied(tensor: Tensor | None, memo: dict[int, Any]) -> Tensor | None:
    """A deep copy of a parameter or buffer."""
    if type(tensor) is not Tensor or tensor.__dict__ or tensor.requires_grad or tensor.grad_fn is not None:
        return copy.deepcopy(tensor, memo)
    storages: dict[int, Any] = memo.setdefault("torch", {})  # type: ignore[call-overload]  # as torch's copies have it
    storage = tensor.untyped_storage() if tensor.layout == torch.strided else None
    whole = storage is not None and storage.nbytes() == tensor.nbytes and tensor.is_contiguous()
    if storage is None or not whole or storage._cdata in storages:
        return copy.deepcopy(tensor, memo)
    made = tensor.clone()
    storages[storage._cdata] = made.untyped_storage()
    memo[id(tensor)] = made
    return made


@contextmanager
def without_collection() -> Iterator[None]:
    """Without the search for garbage: one of everything that torch has made takes longer than to copy a network.

    What was garbage before still is afterwards.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
