"""Convolutions: `conv_3x3`, `nor_conv_3x3`, `conv_bn_relu_3x3`, with any kernel, `_d2` for dilation, `_g4` for groups.

`conv` is one convolution and nothing else (no norm, no activation), so that it can take the place of a convolution of
the user's, whose norm and activation stay where they are; its bias follows the slot. `nor_conv` is ReLU, convolution,
batch norm: the edge of NAS-Bench-201 (Dong and Yang 2020, arXiv 2001.00326, section 2.1, their `ReLUConvBN`) and
ModularNAS' NC1 … NC13. `conv_bn_relu` is the vertex of NAS-Bench-101 (Ying et al. 2019, arXiv 1902.09635, section 2.1);
its batch norm has torch's momentum and epsilon, theirs are 0.003 and 1e-5.
"""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops import dims
from modularnas.ops.registry import SPATIAL, register
from modularnas.ops.slot import Slot

__all__: list[str] = []


def _conv(slot: Slot, k: int, dilation: int, groups: int, *, bias: bool) -> nn.Module:
    if slot.in_channels % groups or slot.out_channels % groups:
        raise RuleError(f"{slot.in_channels} and {slot.out_channels} channels cannot be split into {groups} groups")
    return dims.conv(
        slot, slot.in_channels, slot.out_channels, k, stride=slot.stride, dilation=dilation, groups=groups, bias=bias
    )


@register(
    "conv_{k}x{k}[_d{dilation}][_g{groups}]",
    names=["conv_1x1", "conv_3x3", "conv_5x5", "conv_7x7", "conv_3x3_d2"],
    inputs=SPATIAL,
)
def conv(slot: Slot, k: int, dilation: int = 1, groups: int = 1) -> nn.Module:
    """Convolution alone, kernel {k}."""
    return _conv(slot, k, dilation, groups, bias=bool(slot.bias))


@register(
    "nor_conv_{k}x{k}[_d{dilation}][_g{groups}]", names=["nor_conv_1x1", "nor_conv_3x3", "nor_conv_5x5"], inputs=SPATIAL
)
def nor_conv(slot: Slot, k: int, dilation: int = 1, groups: int = 1) -> nn.Module:
    """ReLU, convolution, batch norm, kernel {k}."""
    return nn.Sequential(
        nn.ReLU(), _conv(slot, k, dilation, groups, bias=False), dims.batch_norm(slot, slot.out_channels)
    )


@register(
    "conv_bn_relu_{k}x{k}[_d{dilation}][_g{groups}]", names=["conv_bn_relu_1x1", "conv_bn_relu_3x3"], inputs=SPATIAL
)
def conv_bn_relu(slot: Slot, k: int, dilation: int = 1, groups: int = 1) -> nn.Module:
    """Convolution, batch norm, ReLU, kernel {k}."""
    return nn.Sequential(
        _conv(slot, k, dilation, groups, bias=False), dims.batch_norm(slot, slot.out_channels), nn.ReLU()
    )
