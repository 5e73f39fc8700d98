"""Separable and dilated convolutions of the DARTS space: `sep_conv_kxk`, `dil_conv_kxk`; and `dw_conv_kxk`.

`sep_conv`: (ReLU, depthwise k x k, pointwise 1 x 1, BatchNorm) twice, the stride in the first. `dil_conv`: the same
once, the depthwise one dilated by 2 (Liu, Simonyan and Yang 2018, DARTS, arXiv 1806.09055, appendix; their code's
`SepConv` and `DilConv`). `dw_conv`: depthwise k x k, then pointwise 1 x 1, with nothing around: the drop-in for a
plain convolution (Howard et al. 2017, MobileNet, arXiv 1704.04861, section 3.1).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from modularnas.ops import dims
from modularnas.ops.registry import register
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


def _register(kernel_size: int) -> None:
    size = f"{kernel_size}x{kernel_size}"

    @register(f"sep_conv_{size}")
    def sep_conv(slot: Slot) -> nn.Module:
        first = _unit(slot, slot.in_channels, kernel_size, slot.stride)
        return nn.Sequential(*first, *_unit(slot, slot.out_channels, kernel_size, 1))

    @register(f"dil_conv_{size}")
    def dil_conv(slot: Slot) -> nn.Module:
        return nn.Sequential(*_unit(slot, slot.out_channels, kernel_size, slot.stride, dilation=2))

    @register(f"dw_conv_{size}")
    def dw_conv(slot: Slot) -> nn.Module:
        channels = slot.in_channels
        return nn.Sequential(
            dims.conv(slot, channels, channels, kernel_size, stride=slot.stride, groups=channels, bias=False),
            dims.conv(slot, channels, slot.out_channels, 1, bias=bool(slot.bias)),
        )


for _kernel_size in (3, 5, 7):
    _register(_kernel_size)
