"""Torch's layer classes by number of spatial dimensions, so that one op serves 1-D, 2-D and 3-D slots."""

from __future__ import annotations

from typing import Any

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops.slot import Slot

__all__ = ["avg_pool", "batch_norm", "conv", "max_pool"]

_CLASSES: dict[str, tuple[type[nn.Module], ...]] = {
    "conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "batch_norm": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    "max_pool": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "avg_pool": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
}


def _make(kind: str, slot: Slot, *args: Any, **kwargs: Any) -> nn.Module:
    if not 1 <= slot.dims <= 3:
        raise RuleError(
            f"an op with a {kind} is meant for inputs (N, C, …) of 1 to 3 spatial dimensions, not {slot.dims}"
        )
    return _CLASSES[kind][slot.dims - 1](*args, **kwargs)


def conv(slot: Slot, in_channels: int, out_channels: int, kernel_size: int, **kwargs: Any) -> nn.Module:
    """A convolution that keeps the size at stride 1 (zero padding for odd kernels)."""
    padding = kwargs.get("dilation", 1) * (kernel_size - 1) // 2
    return _make("conv", slot, in_channels, out_channels, kernel_size, padding=padding, **kwargs)


def batch_norm(slot: Slot, channels: int) -> nn.Module:
    """A batch normalisation with scale and shift."""
    return _make("batch_norm", slot, channels)


def max_pool(slot: Slot, kernel_size: int, stride: Any) -> nn.Module:
    """A max pooling that keeps the size at stride 1."""
    return _make("max_pool", slot, kernel_size, stride=stride, padding=kernel_size // 2)


def avg_pool(slot: Slot, kernel_size: int, stride: Any) -> nn.Module:
    """An average pooling that keeps the size at stride 1 and does not count the padding."""
    padding = kernel_size // 2
    return _make("avg_pool", slot, kernel_size, stride=stride, padding=padding, count_include_pad=False)
