"""Pooling: `max_pool_3x3`, `avg_pool_3x3`.

As in DARTS (Liu, Simonyan and Yang 2018, arXiv 1806.09055): 3 x 3, the padding not counted in the average. Where the
number of channels changes, a 1 x 1 convolution follows.
"""

from __future__ import annotations

from torch import nn

from modularnas.ops import dims
from modularnas.ops.registry import register
from modularnas.ops.slot import Slot

__all__: list[str] = []


def _with_channels(slot: Slot, pool: nn.Module) -> nn.Module:
    if slot.in_channels == slot.out_channels:
        return pool
    return nn.Sequential(pool, dims.conv(slot, slot.in_channels, slot.out_channels, 1, bias=bool(slot.bias)))


@register("max_pool_3x3")
def max_pool_3x3(slot: Slot) -> nn.Module:
    """Maximum over 3 x 3."""
    return _with_channels(slot, dims.max_pool(slot, 3, slot.stride))


@register("avg_pool_3x3")
def avg_pool_3x3(slot: Slot) -> nn.Module:
    """Average over 3 x 3."""
    return _with_channels(slot, dims.avg_pool(slot, 3, slot.stride))
