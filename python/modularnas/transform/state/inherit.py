"""Weights from a parent by the best match, for a child that is not exactly a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from modularnas import _core
from modularnas.transform.state.tensors import tensors

__all__ = ["Match", "inherit"]


class Match(NamedTuple):
    """Where a tensor came from: its path in the child, the parent's, and which part of it was copied."""

    to: str
    source: str
    part: float


def inherit(net: nn.Module, parent: nn.Module | Mapping[str, Tensor]) -> list[Match]:
    """Gives a network what fits of its parent's weights, in place; says what came from where.

    A tensor inherits from the one of the same path, else from the most similar unused one of the same name; of
    different sizes, the overlap is copied: leading channels, the centre of kernels. The rest keeps its own values.

    Args:
        net: the child.
        parent: the parent or its `state_dict`.

    Example:
        >>> parent = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU())
        >>> child = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> mn.transform.inherit(child, parent)
        [Match(to='0.bias', source='0.bias', part=1.0), Match(to='0.weight', source='0.weight', part=1.0)]
        >>> torch.equal(child[0].weight, parent[0].weight[:4, :, 1:4, 1:4])
        True
    """
    given = (
        tensors(parent) if isinstance(parent, nn.Module) else {n: t for n, t in parent.items() if isinstance(t, Tensor)}
    )
    own = tensors(net)
    changed, matches = _core.inherit_weights(given, own)
    with torch.no_grad():
        for path, tensor in changed.items():
            own[path].copy_(tensor)
    return [Match(*match) for match in matches]
