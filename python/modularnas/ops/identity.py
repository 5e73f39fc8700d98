"""No operation: `identity` (the input as it is) and `none` (zeros: no connection).

Where the identity must change the size or the number of channels it is the factorized reduction of DARTS (stride 2:
two strided 1 x 1 convolutions of the input and of the input shifted by one, concatenated; Liu, Simonyan and Yang
2018, arXiv 1806.09055, their code's `FactorizedReduce`) or a strided 1 x 1 convolution; both with a batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modularnas.ops import dims
from modularnas.ops.registry import register
from modularnas.ops.slot import Slot

__all__ = ["FactorizedReduce", "Zero"]


class Zero(nn.Module):
    """Zeros of the output's shape: `(N, C, …)` to `(N, out_channels, …)`; or channels last."""

    def __init__(self, in_channels: int, out_channels: int, strides: tuple[int, ...], channel_dim: int = 1) -> None:
        super().__init__()
        self.expands = out_channels != in_channels
        self.out_channels = out_channels
        self.strides = strides
        self.channel_dim = channel_dim

    def forward(self, x: Tensor) -> Tensor:
        """A multiple of 0 of the input, so that the shape may vary and gradients stay defined."""
        for dim, stride in enumerate(self.strides, start=2):
            if stride > 1:
                x = x[(slice(None),) * dim + (slice(None, None, stride),)]
        if self.expands:
            x = x.narrow(self.channel_dim, 0, 1).repeat_interleave(self.out_channels, dim=self.channel_dim)
        return x * 0.0


class FactorizedReduce(nn.Module):
    """Halves a picture without losing every other pixel: `(N, C, H, W)` to `(N, out, H / 2, W / 2)`, H and W even."""

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


def _strides(slot: Slot) -> tuple[int, ...]:
    return slot.stride if isinstance(slot.stride, tuple) else (slot.stride,) * slot.dims


@register("identity")
def identity(slot: Slot) -> nn.Module:
    """The input as it is; a cheap projection where the shape must change."""
    if slot.in_channels == slot.out_channels and set(_strides(slot)) <= {1}:
        return nn.Identity()
    even = slot.input_shape is not None and all(n % 2 == 0 for n in slot.input_shape[2:])
    if _strides(slot) == (2, 2) and even and slot.out_channels > 1:
        return FactorizedReduce(slot.in_channels, slot.out_channels)
    if slot.dims == 0:
        return nn.Linear(slot.in_channels, slot.out_channels, bias=bool(slot.bias))
    projection = dims.conv(slot, slot.in_channels, slot.out_channels, 1, stride=slot.stride, bias=False)
    return nn.Sequential(projection, dims.batch_norm(slot, slot.out_channels))


@register("none")
def none(slot: Slot) -> nn.Module:
    """Zeros: the place is left out of the network."""
    return Zero(slot.in_channels, slot.out_channels, _strides(slot), -1 if slot.features_last else 1)
