"""Plain convolutions: `conv_1x1`, `conv_3x3`, `conv_5x5`, `conv_7x7`.

One convolution and nothing else (no norm, no activation), so that it can take the place of a convolution of the
user's, whose norm and activation stay where they are; ModularNAS calls them NC1 … NC7. The bias follows the slot.
"""

from __future__ import annotations

from torch import nn

from modularnas.ops import dims
from modularnas.ops.registry import register
from modularnas.ops.slot import Slot

__all__: list[str] = []


def _register(kernel_size: int) -> None:
    @register(f"conv_{kernel_size}x{kernel_size}")
    def build(slot: Slot) -> nn.Module:
        return dims.conv(
            slot, slot.in_channels, slot.out_channels, kernel_size, stride=slot.stride, bias=bool(slot.bias)
        )


for _kernel_size in (1, 3, 5, 7):
    _register(_kernel_size)
