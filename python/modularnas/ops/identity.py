"""The input as it is: `identity`; and `factorized_reduce`, which halves a picture cheaply.

Where the identity must change the size or the number of channels it is the factorized reduction of DARTS (stride 2:
two strided 1 x 1 convolutions of the input and of the input shifted by one, concatenated; Liu, Simonyan and Yang
2018, arXiv 1806.09055, their code's `FactorizedReduce`) or a strided 1 x 1 convolution; both with a batch norm. The
reduction is of pictures with an even height and width; elsewhere it is the strided convolution too, where DARTS' code
fails.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modularnas.ops import dims
from modularnas.ops.registry import FEATURES, FIELDS, SPATIAL, register
from modularnas.ops.slot import Slot

__all__ = ["FactorizedReduce", "fit", "identity"]


class FactorizedReduce(nn.Module):
    """Halves a picture without losing every other pixel: `(N, C, H, W)` to `(N, out, H / 2, W / 2)`, H and W even.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, 2 or more.

    Example:
        >>> from modularnas.ops.identity import FactorizedReduce
        >>> FactorizedReduce(4, 6)(torch.randn(2, 4, 8, 8)).shape
        torch.Size([2, 6, 4, 4])
    """

    #: Says what it is: a ReLU, these convolutions of the input shifted by one pixel each, concatenated, and `norm`.
    shifted = ("even", "odd")

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(in_channels, out_channels // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels - out_channels // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        x = torch.relu(x)
        out: Tensor = self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))
        return out


@register("identity", inputs=(*SPATIAL, *FEATURES, *FIELDS))
def identity(slot: Slot) -> nn.Module:
    """The input as it is; a cheap projection where the shape must change."""
    return nn.Identity() if slot.keeps_shape else factorized_reduce(slot)


@register("factorized_reduce", inputs=(*SPATIAL, *FEATURES, *FIELDS))
def factorized_reduce(slot: Slot) -> nn.Module:
    """The cheap projection itself, which at stride 2 sees the skipped pixels too."""
    even = slot.input_shape is not None and all(n % 2 == 0 for n in slot.input_shape[2:])
    if slot.dims == 2 and slot.strides == (2, 2) and even and slot.out_channels > 1:
        return FactorizedReduce(slot.in_channels, slot.out_channels)
    if slot.layout == "fields":
        fields, dim = dims.fields(slot)
        return nn.Sequential(nn.Flatten(), nn.Linear(fields * dim, slot.out_channels, bias=bool(slot.bias)))
    if slot.dims == 0:
        return nn.Linear(slot.in_channels, slot.out_channels, bias=bool(slot.bias))
    projection = dims.conv(slot, slot.in_channels, slot.out_channels, 1, stride=slot.stride, bias=False)
    return nn.Sequential(projection, dims.batch_norm(slot, slot.out_channels))


def fit(slot: Slot, core: nn.Module) -> nn.Module:
    """A module that keeps shapes, for `out_channels`, in a slot that may not: after the identity's projection."""
    return core if slot.keeps_shape else nn.Sequential(factorized_reduce(slot), core)
