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

_ATOMS = frozenset({int, float, str, bool, bytes, complex, type(None), type})
_CONTAINERS = frozenset({dict, OrderedDict, list, set})
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
    if not _is_plain(cls, memo):
        return copy.deepcopy(module, memo)
    made = memo[id(module)] = cls.__new__(cls)
    state = module.__dict__.copy()
    kept: frozenset[str] = frozenset()
    if issubclass(cls, Elastic):
        kept = REPLACED
        for name in MOMENTARY:
            state.pop(name, None)
    for name, value in state.items():
        kind = type(value)
        if kind in _ATOMS:
            continue
        if kind in _CONTAINERS and not value:
            state[name] = kind()
        elif name == "_modules":
            state[name] = {key: None if child is None else duplicate(child, memo) for key, child in value.items()}
        elif name == "_parameters" or name == "_buffers":
            state[name] = {key: memo[id(t)] if id(t) in memo else _copied(t, memo) for key, t in value.items()}
        elif name not in kept and not (kind is tuple and _ATOMS.issuperset(map(type, value))):
            state[name] = copy.deepcopy(value, memo)
    made.__setstate__(state)
    return made


def _is_plain(cls: type[nn.Module], memo: dict[int, Any]) -> bool:
    """Whether modules of a class are copied attribute by attribute; the memo knows, as classes may change later."""
    known: dict[type[nn.Module], bool] = memo.setdefault("classes", {})  # type: ignore[call-overload]
    if cls not in known:
        known[cls] = issubclass(cls, Elastic) or tuple(getattr(cls, name, None) for name in _PROTOCOL) == _PLAIN
    return known[cls]


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
