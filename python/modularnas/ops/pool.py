"""Pooling: `max_pool_3x3`, `avg_pool_3x3`, … with any odd window, `_bn` for a batch norm after it; and global pooling.

As in DARTS (Liu, Simonyan and Yang 2018, arXiv 1806.09055): the padding is not counted in the average. DARTS' search
and ModularNAS (`AVG`, `MAX`) put a batch norm after the pool; here it is a name of its own, since NAS-Bench-201 has
none. Where the number of channels changes, a 1 x 1 convolution follows.

Global pooling gives every position the average (or maximum) over all: the image-level feature of ASPP (Chen et al.
2017, arXiv 1706.05587, section 3.3) and the candidate "global average pooling" of Nekrasov et al. 2018 (arXiv
1810.10804). A 1 x 1 convolution is before the broadcast where the channels change, and left out where they do not.
"""

from __future__ import annotations

from torch import Tensor, nn

from modularnas.ops import dims
from modularnas.ops.registry import SPATIAL, register
from modularnas.ops.slot import Slot

__all__ = ["GlobalPool"]


class GlobalPool(nn.Module):
    """Gives every position the same vector: `(N, C, H, W)` to `(N, out, H / stride, W / stride)`, rounded up.

    Args:
        vector: the module that makes `(N, out, 1, 1)` of the input.
        strides: the step of each spatial dimension.

    Example:
        >>> from modularnas.ops.pool import GlobalPool
        >>> GlobalPool(nn.AdaptiveAvgPool2d(1), (2, 2))(torch.randn(2, 4, 7, 8)).shape
        torch.Size([2, 4, 4, 4])
    """

    def __init__(self, vector: nn.Module, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.vector = vector
        self.strides = strides

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        steps = (slice(None), slice(None), *(slice(None, None, stride) for stride in self.strides))
        strided = x[steps]
        sizes = [strided.size(dim) for dim in range(2, 2 + len(self.strides))]
        out: Tensor = self.vector(x).expand(-1, -1, *sizes).contiguous()  # what follows may work in place
        return out


def _with_channels(slot: Slot, pool: nn.Module) -> nn.Module:
    if slot.in_channels == slot.out_channels:
        return pool
    return nn.Sequential(pool, dims.conv(slot, slot.in_channels, slot.out_channels, 1, bias=bool(slot.bias)))


def _with_norm(slot: Slot, pool: nn.Module, bn: bool) -> nn.Module:
    pool = _with_channels(slot, pool)
    return nn.Sequential(pool, dims.batch_norm(slot, slot.out_channels)) if bn else pool


@register("max_pool_{k}x{k}[_bn]", names=["max_pool_3x3", "max_pool_5x5", "max_pool_3x3_bn"], inputs=SPATIAL)
def max_pool(slot: Slot, k: int, bn: bool = False) -> nn.Module:
    """Maximum over windows of {k}."""
    return _with_norm(slot, dims.max_pool(slot, k, slot.stride), bn)


@register("avg_pool_{k}x{k}[_bn]", names=["avg_pool_3x3", "avg_pool_5x5", "avg_pool_3x3_bn"], inputs=SPATIAL)
def avg_pool(slot: Slot, k: int, bn: bool = False) -> nn.Module:
    """Average over windows of {k}."""
    return _with_norm(slot, dims.avg_pool(slot, k, slot.stride), bn)


@register("global_avg_pool", inputs=SPATIAL)
def global_avg_pool(slot: Slot) -> nn.Module:
    """Average over all positions, given to every position."""
    return GlobalPool(_with_channels(slot, dims.adaptive_avg_pool(slot)), slot.strides)


@register("global_max_pool", inputs=SPATIAL)
def global_max_pool(slot: Slot) -> nn.Module:
    """Maximum over all positions, given to every position."""
    return GlobalPool(_with_channels(slot, dims.adaptive_max_pool(slot)), slot.strides)
