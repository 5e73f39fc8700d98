"""Torch's layer classes by number of spatial dimensions, so that one op serves 1-D, 2-D and 3-D slots."""

from __future__ import annotations

from typing import Any

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops.slot import Slot

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "batch_norm",
    "conv",
    "features",
    "fields",
    "instance_norm",
    "max_pool",
    "sequence",
    "window_average",
]

_CLASSES: dict[str, tuple[type[nn.Module], ...]] = {
    "conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "zero_pad": (nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
    "batch_norm": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    "instance_norm": (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    "max_pool": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "avg_pool": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    "adaptive_avg_pool": (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    "adaptive_max_pool": (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
}


def _make(kind: str, slot: Slot, *args: Any, **kwargs: Any) -> nn.Module:
    if not 1 <= slot.dims <= 3:
        raise RuleError(
            f"an op with a {kind} is meant for inputs (N, C, …) of 1 to 3 spatial dimensions, not {slot.dims}"
        )
    return _CLASSES[kind][slot.dims - 1](*args, **kwargs)


def conv(
    slot: Slot, in_channels: int, out_channels: int, kernel_size: int | tuple[int, ...], **kwargs: Any
) -> nn.Module:
    """A convolution that keeps the size at stride 1, and rounds it up at others.

    An even kernel needs one more zero at the end than at the start, which takes a layer of its own.
    """
    sizes = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * slot.dims
    total = [kwargs.get("dilation", 1) * (size - 1) for size in sizes]
    if any(n % 2 for n in total):
        # Torch's paddings start at the last dimension.
        sides = tuple(side for n in reversed(total) for side in (n // 2, n - n // 2))
        pad = _make("zero_pad", slot, sides)
        return nn.Sequential(pad, _make("conv", slot, in_channels, out_channels, kernel_size, **kwargs))
    padding = tuple(n // 2 for n in total) if isinstance(kernel_size, tuple) else total[0] // 2 if total else 0
    return _make("conv", slot, in_channels, out_channels, kernel_size, padding=padding, **kwargs)


def batch_norm(slot: Slot, channels: int) -> nn.Module:
    """A batch normalisation with scale and shift."""
    return _make("batch_norm", slot, channels)


def instance_norm(slot: Slot, channels: int) -> nn.Module:
    """An instance normalisation with scale and shift, without running statistics."""
    return _make("instance_norm", slot, channels, affine=True)


def max_pool(slot: Slot, kernel_size: int, stride: Any) -> nn.Module:
    """A max pooling that keeps the size at stride 1."""
    return _make("max_pool", slot, kernel_size, stride=stride, padding=_half(kernel_size))


def avg_pool(slot: Slot, kernel_size: int, stride: Any) -> nn.Module:
    """An average pooling that keeps the size at stride 1 and does not count the padding."""
    return _make("avg_pool", slot, kernel_size, stride=stride, padding=_half(kernel_size), count_include_pad=False)


def window_average(slot: Slot) -> nn.Module:
    """The average over windows as large as the stride, which rounds the size up."""
    return _make("avg_pool", slot, slot.stride, stride=slot.stride, ceil_mode=True)


def adaptive_avg_pool(slot: Slot) -> nn.Module:
    """The average over all positions: `(N, C, 1, …)`."""
    return _make("adaptive_avg_pool", slot, 1)


def adaptive_max_pool(slot: Slot) -> nn.Module:
    """The maximum over all positions: `(N, C, 1, …)`."""
    return _make("adaptive_max_pool", slot, 1)


def _half(kernel_size: int) -> int:
    if kernel_size % 2 == 0:
        raise RuleError(f"a pooling window of {kernel_size} is even; expected an odd one, which has a middle")
    return kernel_size // 2


def fields(slot: Slot) -> tuple[int, int]:
    """Number and size of the fields of an input `(N, fields, dim)`."""
    if slot.layout != "fields" or slot.input_shape is None or len(slot.input_shape) != 3:
        raise RuleError(
            "this op is meant for inputs (N, fields, dim) of which one vector is made, "
            f"not for {_given(slot)}; a placeholder for it is mn.Slot(fields, out, layout='fields')"
        )
    return slot.input_shape[1], slot.input_shape[2]


def features(slot: Slot) -> tuple[int, int]:
    """Number of features of the input `(N, …, features)` and of the output."""
    if slot.layout != "features":
        raise RuleError(
            "this op is meant for inputs (N, …, features), "
            f"not for {_given(slot)}; a placeholder for it is mn.Slot(in, out, layout='features')"
        )
    return slot.in_channels, slot.out_channels


def sequence(slot: Slot) -> tuple[int, int]:
    """Number of features of the input `(N, L, features)` and of the output."""
    inside, outside = features(slot)
    if slot.input_shape is not None and len(slot.input_shape) != 3:
        raise RuleError(f"this op is meant for inputs (N, L, features), not for {_given(slot)}")
    return inside, outside


def _given(slot: Slot) -> str:
    shape = "" if slot.input_shape is None else f", input {tuple(slot.input_shape)}"
    return f"a slot of layout {slot.layout!r}{shape}"
