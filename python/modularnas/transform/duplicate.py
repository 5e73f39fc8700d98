"""Copies of a module tree, as `copy.deepcopy` makes them, without its cost for what hardly needs copying."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from modularnas import _core
from modularnas.nn.elastic import MOMENTARY, REPLACED, Elastic

__all__ = ["duplicate", "without_collection"]

#: What a class may define to be copied in its own way.
_PROTOCOL = ("__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__", "__new__")
_PLAIN = tuple(getattr(nn.Module, name, None) for name in _PROTOCOL)


def duplicate(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy of a module.

    Args:
        module: the module.
        memo: as of `copy.deepcopy`: what stands for which object, by its id; tensors in it are shared.
    """
    # What is known of classes is kept for one copy, as they may change later.
    classes: dict[type[nn.Module], Any] = memo.setdefault("classes", {})  # type: ignore[call-overload]
    made: nn.Module = _core.duplicate_module(module, memo, classes, _about, copy.deepcopy, _copied)
    return made


def _about(cls: type[nn.Module]) -> tuple[frozenset[str], frozenset[str], bool] | None:
    """How modules of a class are copied.

    Returns:
        The attributes that no copy has, those that copies share, and whether a copy sets its state itself; None: in the
        way of their own that they have.
    """
    if issubclass(cls, Elastic):
        return MOMENTARY, REPLACED, True
    if tuple(getattr(cls, name, None) for name in _PROTOCOL) != _PLAIN:
        return None
    # Those of torch's own layers add what pickles of old versions lack.
    written: str = getattr(cls.__setstate__, "__module__", "")
    return frozenset(), frozenset(), not written.startswith("torch.nn.modules.")


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
