"""A convolution in two: `conv_1x7_7x1`, with any length.

ReLU, 1 x k, k x 1, batch norm: the k x k convolution of rank one in space (Szegedy et al. 2015, arXiv 1512.00567,
section 3.2; a candidate of NASNet, Zoph et al. 2017, arXiv 1707.07012, section 3). Order and channels as in DARTS'
code, whose name `conv_7x1_1x7` is an alias: the first keeps the channels and strides the width, the second strides the
height. ModularNAS' FC3 … strides both in the first. Pictures only.
"""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops import dims
from modularnas.ops.registry import register
from modularnas.ops.slot import Slot

__all__: list[str] = []


@register("conv_1x{k}_{k}x1", names=["conv_1x3_3x1", "conv_1x7_7x1"], inputs=("2d",))
def factorized_conv(slot: Slot, k: int) -> nn.Module:
    """ReLU, 1 x {k} and {k} x 1 convolution, batch norm."""
    if slot.dims != 2:
        raise RuleError(f"a factorized convolution is meant for inputs (N, C, H, W), not {slot.dims} dimensions")
    down, right = slot.strides
    return nn.Sequential(
        nn.ReLU(),
        dims.conv(slot, slot.in_channels, slot.in_channels, (1, k), stride=(1, right), bias=False),
        dims.conv(slot, slot.in_channels, slot.out_channels, (k, 1), stride=(down, 1), bias=False),
        dims.batch_norm(slot, slot.out_channels),
    )
