"""Blocks of ResNets: `basic_block_3x3`, `bottleneck_3x3`, `_preact` and `_se` for both, `pyramid_block_3x3`.

- `basic_block`: two k x k convolutions; `bottleneck`: 1 x 1, k x k, 1 x 1, a quarter of the output's channels inside
  (`_r2` for a half). Batch norm after each, ReLU between and after the sum (He et al. 2015, arXiv 1512.03385, figure
  5). The stride is in the first, or in the k x k one, as in torchvision. `_g32` with `_r2` is ResNeXt's (Xie et al.
  2016, arXiv 1611.05431, figure 3c); the inner channels are rounded up to a multiple of the groups.
- `_preact`: batch norm and ReLU before each convolution, nothing after the sum (He et al. 2016, arXiv 1603.05027,
  figure 4e). A projecting shortcut takes the input itself; in the authors' code it takes the first activation.
- `_se`: squeeze and excitation of the branch, reduced by 16 (Hu, Shen and Sun 2017, arXiv 1709.01507, figure 3).
- `pyramid_block`: batch norm first and last, one ReLU, and a shortcut without weights (Han, Kim and Kim 2016, arXiv
  1610.02915, figure 6d and section 3): average pooling at a stride, zeros for new channels. Where there are fewer
  channels than before, which the paper has not, the shortcut projects.

Where the shape changes, the shortcut is a strided 1 x 1 convolution with a batch norm (option B of He et al. 2015).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modularnas.ops import dims
from modularnas.ops.registry import SPATIAL, register
from modularnas.ops.residual import Residual
from modularnas.ops.slot import Slot
from modularnas.ops.squeeze_excite import squeeze_excite

__all__ = ["ChannelPad"]


class ChannelPad(nn.Module):
    """Adds channels of zeros: `(N, C, …)` to `(N, C + more, …)`.

    Args:
        more: how many.

    Example:
        >>> from modularnas.ops.resnet import ChannelPad
        >>> ChannelPad(2)(torch.ones(1, 1, 1)).flatten()
        tensor([1., 0., 0.])
    """

    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        zeros = torch.zeros_like(x[:, :1]).repeat_interleave(self.more, dim=1)
        return torch.cat([x, zeros], dim=1)


def _block(slot: Slot, convs: list[nn.Module], widths: list[int], *, preact: bool, se: bool) -> nn.Module:
    """The residual block of some convolutions; `widths` are their channels, the input's first."""
    layers: list[nn.Module] = []
    for i, conv in enumerate(convs):
        if preact:
            layers += [dims.batch_norm(slot, widths[i]), nn.ReLU(), conv]
        else:
            layers += [*([nn.ReLU()] if i else []), conv, dims.batch_norm(slot, widths[i + 1])]
    if se:
        layers.append(squeeze_excite(slot, widths[-1], max(1, widths[-1] // 16)))
    return Residual(nn.Sequential(*layers), _projection(slot), None if preact else nn.ReLU())


def _projection(slot: Slot) -> nn.Module | None:
    if slot.keeps_shape:
        return None
    conv = dims.conv(slot, slot.in_channels, slot.out_channels, 1, stride=slot.stride, bias=False)
    return nn.Sequential(conv, dims.batch_norm(slot, slot.out_channels))


@register(
    "basic_block_{k}x{k}[_preact][_se]",
    names=["basic_block_3x3", "basic_block_5x5", "basic_block_3x3_preact", "basic_block_3x3_se"],
    inputs=SPATIAL,
)
def basic_block(slot: Slot, k: int, preact: bool = False, se: bool = False) -> nn.Module:
    """ResNet block of two convolutions, kernel {k}."""
    inside, outside = slot.in_channels, slot.out_channels
    convs = [
        dims.conv(slot, inside, outside, k, stride=slot.stride, bias=False),
        dims.conv(slot, outside, outside, k, bias=False),
    ]
    return _block(slot, convs, [inside, outside, outside], preact=preact, se=se)


@register(
    "bottleneck_{k}x{k}[_r{reduction}][_g{groups}][_preact][_se]",
    names=["bottleneck_3x3", "bottleneck_5x5", "bottleneck_3x3_r2_g32", "bottleneck_3x3_preact", "bottleneck_3x3_se"],
    inputs=SPATIAL,
)
def bottleneck(
    slot: Slot, k: int, reduction: int = 4, groups: int = 1, preact: bool = False, se: bool = False
) -> nn.Module:
    """ResNet bottleneck, kernel {k}."""
    inside, outside = slot.in_channels, slot.out_channels
    middle = -(-outside // (reduction * groups)) * groups
    convs = [
        dims.conv(slot, inside, middle, 1, bias=False),
        dims.conv(slot, middle, middle, k, stride=slot.stride, groups=groups, bias=False),
        dims.conv(slot, middle, outside, 1, bias=False),
    ]
    return _block(slot, convs, [inside, middle, middle, outside], preact=preact, se=se)


@register("pyramid_block_{k}x{k}", names=["pyramid_block_3x3"], inputs=SPATIAL)
def pyramid_block(slot: Slot, k: int) -> nn.Module:
    """PyramidNet block of two convolutions, kernel {k}."""
    inside, outside = slot.in_channels, slot.out_channels
    branch = nn.Sequential(
        dims.batch_norm(slot, inside),
        dims.conv(slot, inside, outside, k, stride=slot.stride, bias=False),
        dims.batch_norm(slot, outside),
        nn.ReLU(),
        dims.conv(slot, outside, outside, k, bias=False),
        dims.batch_norm(slot, outside),
    )
    if outside < inside:
        return Residual(branch, _projection(slot))
    shortcut: list[nn.Module] = []
    if set(slot.strides) != {1}:
        shortcut.append(dims.window_average(slot))
    if outside > inside:
        shortcut.append(ChannelPad(outside - inside))
    return Residual(branch, nn.Sequential(*shortcut) if shortcut else None)
