"""A slot: the place of one module that is open to choice, and what a candidate op must fit.

`mn.Slot` is both the placeholder that a user puts into a model and the description that every candidate op is built
from, whether the place was a placeholder or a module of the user's.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from modularnas.errors import NetworkError

__all__ = ["Slot"]

Size = int | tuple[int, ...]
_LAYOUTS = ("channels", "features", "fields")


class Slot(nn.Module):
    """A placeholder in a model, to be opened by `mn.rules.slots([...])`.

    It stands for any module that maps `(N, in_channels, …)` to `(N, out_channels, …)` and divides each spatial
    dimension by `stride`, rounding up; with other layouts, for what these say.

    Args:
        in_channels: channels, features or fields of the input.
        out_channels: channels or features of the output.
        stride: the step of the spatial dimensions.
        bias: whether candidates with a bias should have one.
        layout: "channels" for the above; "features" for `(N, …, in_channels)` to `(N, …, out_channels)`, as in a
            transformer; "fields" for `(N, in_channels, dim)` to `(N, out_channels)`, as in recommendation.

    Attributes:
        kernel_size: the kernel of the module that stood here, if it had one, else None.
        original: the module that stood here; None for a placeholder.
        input_shape: the traced shape of the input, batch first; None before tracing.
        output_shape: the traced shape of the output; None before tracing.

    Example:
        >>> net = nn.Sequential(mn.Slot(3, 8, stride=2), nn.Flatten(), nn.Linear(8 * 16, 10))
        >>> supernet = mn.rewrite(net, [mn.rules.slots(["conv_3x3", "max_pool_3x3"])], example=torch.randn(1, 3, 8, 8))
        >>> supernet.space.size
        2
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: Size = 1,
        *,
        bias: bool = True,
        layout: Literal["channels", "features", "fields"] = "channels",
    ) -> None:
        if layout not in _LAYOUTS:
            raise NetworkError(f"a Slot is given layout={layout!r}; expected one of {list(_LAYOUTS)}")
        if layout != "channels" and stride != 1:
            raise NetworkError(f"a Slot of layout={layout!r} is given stride={stride}; only layout='channels' has one")
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride
        self.bias = bias
        self.kernel_size: Size | None = None
        self.layout: str = layout
        self._given: list[nn.Module] = []  # no child of the slot
        self.input_shape: torch.Size | None = None
        self.output_shape: torch.Size | None = None
        self.tracing = False

    @property
    def original(self) -> nn.Module | None:
        """A copy of the module whose place it is, trained weights included; None for a placeholder."""
        return copy.deepcopy(self._given[0]) if self._given else None

    @property
    def dims(self) -> int:
        """Number of spatial dimensions: 2 for `(N, C, H, W)`, 0 for the other layouts; 2 before tracing."""
        if self.layout != "channels":
            return 0
        return 2 if self.input_shape is None else len(self.input_shape) - 2

    @property
    def strides(self) -> tuple[int, ...]:
        """The step of each spatial dimension."""
        return self.stride if isinstance(self.stride, tuple) else (self.stride,) * self.dims

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input."""
        return self.layout != "fields" and self.in_channels == self.out_channels and set(self.strides) <= {1}

    def forward(self, x: Tensor) -> Tensor:
        """Zeros of the output's shape while the model is traced; otherwise an error."""
        if not self.tracing:
            raise NetworkError(
                f"a Slot({self.in_channels}, {self.out_channels}) was called before it was opened; "
                "rewrite the model with mn.rules.slots([...]) first"
            )
        if self.layout == "features":
            return x.new_zeros(*x.shape[:-1], self.out_channels)
        if self.layout == "fields":
            return x.new_zeros(x.shape[0], self.out_channels)
        spatial = x.shape[2:]
        strides = self.stride if isinstance(self.stride, tuple) else (self.stride,) * len(spatial)
        return x.new_zeros(x.shape[0], self.out_channels, *(-(-n // s) for n, s in zip(spatial, strides, strict=True)))

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        layout = "" if self.layout == "channels" else f", layout={self.layout!r}"
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}{layout}"
