"""No connection: `none` gives zeros of the output's shape, at any stride.

It leaves an edge or a layer out of a network (Liu, Simonyan and Yang 2018, DARTS, arXiv 1806.09055, section 2.1,
"zero" operation; NAS-Bench-201, Dong and Yang 2020, arXiv 2001.00326, `zeroize`). As in their code the zeros are the
input times 0, so that gradients are defined (and 0). Here it also stands where the number of channels changes.
"""

from __future__ import annotations

from torch import Tensor, nn

from modularnas.ops.registry import FEATURES, FIELDS, SPATIAL, register
from modularnas.ops.slot import Slot

__all__ = ["Zero"]


class Zero(nn.Module):
    """Zeros of the output's shape: `(N, C, …)` to `(N, out_channels, …)`; or channels last.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        strides: the step of each spatial dimension.
        channel_dim: the dimension of the channels.

    Example:
        >>> from modularnas.ops.none import Zero
        >>> Zero(3, 8, (2, 2))(torch.randn(1, 3, 5, 4)).shape
        torch.Size([1, 8, 3, 2])
    """

    #: Says that it need not be computed in a sum.
    is_zero = True

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


@register("none", inputs=(*SPATIAL, *FEATURES, *FIELDS))
def none(slot: Slot) -> nn.Module:
    """Zeros: the place is left out of the network."""
    zero = Zero(slot.in_channels, slot.out_channels, slot.strides, -1 if slot.layout == "features" else 1)
    if slot.layout != "fields":
        return zero
    zero.expands = True
    return nn.Sequential(nn.Flatten(), zero)
