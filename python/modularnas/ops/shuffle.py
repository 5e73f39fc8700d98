"""Units of ShuffleNetV2: `shuffle_3x3` and, of the one-shot space of SPOS, `shuffle_x_3x3`; with any kernel.

Half of the channels pass as they are, the other half go through pointwise, depthwise, pointwise convolutions; the
halves are concatenated and their channels interleaved (Ma et al. 2018, arXiv 1807.11164, figure 3c). At a stride both
branches take the whole input and each makes half of the channels (figure 3d). `shuffle_x` has three depthwise
separable convolutions in the branch, the "Xception" choice (Guo et al. 2019, arXiv 1904.00420, section 4).

Where the number of channels changes at stride 1, which the paper has not, the unit has the form of a stride. The
projecting branch keeps half of the output's channels, as in torchvision; in SPOS' code it keeps the input's. The middle
is half of the output wide, as in both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modularnas.errors import RuleError
from modularnas.ops import dims
from modularnas.ops.registry import SPATIAL, register
from modularnas.ops.slot import Slot

__all__ = ["ShuffleUnit"]


class ShuffleUnit(nn.Module):
    """Two branches, concatenated, their channels interleaved: `(N, C, …)` to `(N, out, …)`.

    Args:
        branch: the module to learn.
        projection: the other branch; None: each branch gets half of the channels, and this one keeps them.

    Example:
        >>> from modularnas.ops.shuffle import ShuffleUnit
        >>> ShuffleUnit(nn.Identity())(torch.arange(4.0).reshape(1, 4, 1)).flatten()
        tensor([0., 2., 1., 3.])
    """

    def __init__(self, branch: nn.Module, projection: nn.Module | None = None) -> None:
        super().__init__()
        self.projection = projection
        self.branch = branch
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        if self.projection is None:
            kept, rest = torch.tensor_split(x, 2, dim=1)
            branches = [kept, self.branch(rest)]
        else:
            branches = [self.projection(x), self.branch(x)]
        out: Tensor = self.shuffle(torch.cat(branches, dim=1))
        return out


def _pointwise(slot: Slot, inside: int, outside: int) -> list[nn.Module]:
    return [dims.conv(slot, inside, outside, 1, bias=False), dims.batch_norm(slot, outside), nn.ReLU()]


def _depthwise(slot: Slot, channels: int, k: int, *, strided: bool = False) -> list[nn.Module]:
    stride = slot.stride if strided else 1
    conv = dims.conv(slot, channels, channels, k, stride=stride, groups=channels, bias=False)
    return [conv, dims.batch_norm(slot, channels)]


def _unit(slot: Slot, k: int, *, xception: bool) -> nn.Module:
    if slot.out_channels % 2:
        raise RuleError(f"a shuffle unit is given {slot.out_channels} output channels; expected an even number")
    half = slot.out_channels // 2
    inside = half if slot.keeps_shape else slot.in_channels
    if xception:
        layers = [*_depthwise(slot, inside, k, strided=True), *_pointwise(slot, inside, half)]
        for _ in range(2):
            layers += [*_depthwise(slot, half, k), *_pointwise(slot, half, half)]
    else:
        layers = [
            *_pointwise(slot, inside, half),
            *_depthwise(slot, half, k, strided=True),
            *_pointwise(slot, half, half),
        ]
    projection = None
    if not slot.keeps_shape:
        projection = nn.Sequential(*_depthwise(slot, inside, k, strided=True), *_pointwise(slot, inside, half))
    return ShuffleUnit(nn.Sequential(*layers), projection)


@register("shuffle_{k}x{k}", names=["shuffle_3x3", "shuffle_5x5", "shuffle_7x7"], inputs=SPATIAL)
def shuffle(slot: Slot, k: int) -> nn.Module:
    """ShuffleNetV2 unit with kernel {k}."""
    return _unit(slot, k, xception=False)


@register("shuffle_x_{k}x{k}", names=["shuffle_x_3x3"], inputs=SPATIAL)
def shuffle_x(slot: Slot, k: int) -> nn.Module:
    """ShuffleNetV2 unit with three separable convolutions, kernel {k}."""
    return _unit(slot, k, xception=True)
