"""The tensors of a model by path: read for the native half, and put back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from modularnas.errors import NetworkError
from modularnas.nn import follow
from modularnas.transform.duplicate import duplicate
from modularnas.transform.trace import Trace, evaluating, trace

__all__ = ["check_same", "plain", "readable", "replaced", "tensors"]

#: How far outputs may be off, as a part of the largest one.
TOLERANCE = 1e-4


def plain(model: Any) -> nn.Module:
    """The model, if it is one that morphisms change.

    Raises:
        NetworkError: if it is no module, or a supernet.
    """
    if not isinstance(model, nn.Module):
        raise NetworkError(f"a {type(model).__name__} is given; expected a torch.nn.Module")
    if hasattr(type(model), "sampling"):
        raise NetworkError("a supernet is given; morphisms change plain models, such as one from mn.derive")
    return model


def readable(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[nn.Module, Trace]:
    """A copy of a model, and what a forward of it shows.

    Raises:
        NetworkError: if it is no module, or does not run on the example.
    """
    return copy.deepcopy(plain(model)), trace(model, args, kwargs)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by its first path."""
    return {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def replaced(model: nn.Module, changed: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a model with tensors in the place of those of other sizes, wherever they are held.

    Sizes in attributes follow. Tensors that are replaced are not copied.
    """
    memo: dict[int, Any] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in changed:
            value = changed[name].contiguous()
            memo[id(tensor)] = nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value
    new = {id(tensor) for tensor in memo.values()}
    made = duplicate(model, memo)
    for module in made.modules():
        every = {**module._parameters, **module._buffers}
        if any(id(tensor) in new for tensor in every.values()):
            sizes = {name: list(t.shape) for name, t in every.items() if t is not None and t.dim()}
            module.__dict__.update(follow(module, dict(module.__dict__), sizes))
    return made


def check_same(before: nn.Module, after: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> None:
    """Runs both on the example.

    Raises:
        NetworkError: if the second does not run or computes something else.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(before), evaluating(after):
        expected = before(*args, **kwargs)
        try:
            found = after(*args, **kwargs)
        except Exception as error:
            raise NetworkError(
                f"{what}: the model's own forward then fails, {type(error).__name__}: {error}"
            ) from error
    for a, b in zip(tree_leaves(expected), tree_leaves(found), strict=True):
        if not (isinstance(a, Tensor) and a.is_floating_point() and a.numel()):
            continue
        off = (a - b).abs().max().item() if a.shape == b.shape else float("inf")
        if not off <= TOLERANCE * max(1.0, a.abs().max().item()):
            raise NetworkError(
                f"{what}: the function would change, outputs are off by {off:.1e}; something in the model counts "
                "channels (a norm or a mean over them, an attention's scale, a tied weight)"
            )
