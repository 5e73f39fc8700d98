"""Depthwise separable convolution with nothing around: `dw_conv_3x3`, with any kernel, `_d2` for dilation.

Depthwise k x k, then pointwise 1 x 1 (Howard et al. 2017, MobileNet, arXiv 1704.04861, section 3.1). The paper has a
batch norm and ReLU after each; here there is none, so that it is the drop-in for a plain convolution, whose norm and
activation stay where they are. The bias follows the slot.
"""

from __future__ import annotations

from torch import nn

from modularnas.ops import dims
from modularnas.ops.registry import SPATIAL, register
from modularnas.ops.slot import Slot

__all__: list[str] = []


@register("dw_conv_{k}x{k}[_d{dilation}]", names=["dw_conv_3x3", "dw_conv_5x5", "dw_conv_7x7"], inputs=SPATIAL)
def dw_conv(slot: Slot, k: int, dilation: int = 1) -> nn.Module:
    """Depthwise, then pointwise convolution, kernel {k}."""
    channels = slot.in_channels
    return nn.Sequential(
        dims.conv(slot, channels, channels, k, stride=slot.stride, dilation=dilation, groups=channels, bias=False),
        dims.conv(slot, channels, slot.out_channels, 1, bias=bool(slot.bias)),
    )
