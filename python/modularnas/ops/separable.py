"""Separable and dilated convolutions of the DARTS space: `sep_conv_3x3`, `dil_conv_3x3`, with any kernel.

`sep_conv`: (ReLU, depthwise k x k, pointwise 1 x 1, batch norm) twice, the stride in the first. `dil_conv`: the same
once, the depthwise one dilated by 2, or as `_d3` says (Liu, Simonyan and Yang 2018, DARTS, arXiv 1806.09055, section
3.1.1; their code's `SepConv` and `DilConv`). `_single` is the separable one once (ModularNAS' SS3 …).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from modularnas.ops import dims
from modularnas.ops.registry import SPATIAL, register
from modularnas.ops.slot import Slot

__all__: list[str] = []


def _unit(slot: Slot, out_channels: int, kernel_size: int, stride: Any, dilation: int = 1) -> list[nn.Module]:
    channels = slot.in_channels
    return [
        nn.ReLU(),
        dims.conv(slot, channels, channels, kernel_size, stride=stride, dilation=dilation, groups=channels, bias=False),
        dims.conv(slot, channels, out_channels, 1, bias=False),
        dims.batch_norm(slot, out_channels),
    ]


@register(
    "sep_conv_{k}x{k}[_single]",
    names=["sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "sep_conv_3x3_single"],
    inputs=SPATIAL,
)
def sep_conv(slot: Slot, k: int, single: bool = False) -> nn.Module:
    """ReLU, separable convolution with kernel {k}, batch norm; twice unless single."""
    if single:
        return nn.Sequential(*_unit(slot, slot.out_channels, k, slot.stride))
    return nn.Sequential(*_unit(slot, slot.in_channels, k, slot.stride), *_unit(slot, slot.out_channels, k, 1))


@register(
    "dil_conv_{k}x{k}[_d{dilation}]",
    names=["dil_conv_3x3", "dil_conv_5x5", "dil_conv_7x7", "dil_conv_3x3_d3"],
    inputs=SPATIAL,
)
def dil_conv(slot: Slot, k: int, dilation: int = 2) -> nn.Module:
    """ReLU, separable convolution with kernel {k} dilated by {dilation}, batch norm."""
    return nn.Sequential(*_unit(slot, slot.out_channels, k, slot.stride, dilation=dilation))
