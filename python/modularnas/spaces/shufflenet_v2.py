"""`shufflenet_v2`: the blocks of Single Path One-Shot (Guo et al. 2019, SPOS, arXiv 1904.00420, section 4, table 1).

Twenty units of ShuffleNetV2 in four stages, each with kernel 3, 5 or 7 or the "Xception" form: 4²⁰ networks. `FOUND`
are the blocks and channels that the paper's search found, `from_blocks` the network of it: 328 M multiply-adds (table
4). The projecting branch keeps the input's channels as in the authors' code (the units of `mn.ops` follow torchvision).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from modularnas.ops import Slot
from modularnas.ops.shuffle import ShuffleUnit
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["BLOCKS", "FOUND", "create", "from_blocks"]

#: The candidate blocks by their published codes.
BLOCKS = ("shuffle_3x3", "shuffle_5x5", "shuffle_7x7", "shuffle_x_3x3")
#: Channels and blocks of each stage; the first block of a stage halves the picture.
STAGES = ((64, 4), (160, 4), (320, 8), (640, 4))
#: The published network: a code for each block, and channels inside of it as a share of half of the output's.
FOUND = (
    (0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2),
    (1.4, 1.2, 0.8, 1.2, 0.6, 1.4, 0.8, 1.0, 0.6, 1.2, 1.6, 1.2, 1.0, 1.4, 1.6, 1.0, 1.0, 1.2, 1.0, 0.8),
)


def _depthwise(channels: int, k: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, k, stride=stride, padding=k // 2, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


def _pointwise(inside: int, outside: int) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]


def unit(slot: Slot, block: str, share: float = 1.0) -> nn.Module:
    """A block in a slot, `share` of half of the output's channels wide inside."""
    stride = int(slot.strides[0])
    middle = int(slot.out_channels // 2 * share)
    inside = slot.in_channels // 2 if stride == 1 else slot.in_channels
    outside = slot.out_channels - inside
    k = int(block[-1])
    if block.startswith("shuffle_x"):
        layers = [*_depthwise(inside, k, stride), *_pointwise(inside, middle)]
        layers += [*_depthwise(middle, k, 1), *_pointwise(middle, middle)]
        layers += [*_depthwise(middle, k, 1), *_pointwise(middle, outside)]
    else:
        layers = [*_pointwise(inside, middle), *_depthwise(middle, k, stride), *_pointwise(middle, outside)]
    projection = None if stride == 1 else nn.Sequential(*_depthwise(inside, k, stride), *_pointwise(inside, inside))
    return ShuffleUnit(nn.Sequential(*layers), projection)


def _network(block: Callable[[Slot], nn.Module], num_classes: int, image_size: int) -> nn.Sequential:
    small = image_size <= 64  # CIFAR: the stem and the first stage keep the size
    channels, blocks = 16, []
    for outside, n in STAGES:
        for j in range(n):
            blocks.append(block(Slot(channels, outside, 2 if j == 0 else 1)))
            channels = outside
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=1 if small else 2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        ),
        nn.Sequential(*blocks),
        nn.Sequential(*_pointwise(channels, 1024)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(1024, num_classes, bias=False),
    )


@register("shufflenet_v2")
def create(num_classes: int = 1000, image_size: int = 224) -> Parts:
    """The network with open blocks; up to 64 pixels, the stem keeps the size."""

    def candidate(name: str) -> Callable[[Slot], nn.Module]:
        def build(slot: Slot) -> nn.Module:
            return unit(slot, name)

        build.__name__ = name
        return build

    model = _network(lambda slot: slot, num_classes, image_size)
    return model, [rules.slots([candidate(name) for name in BLOCKS])], torch.randn(1, 3, image_size, image_size)


def from_blocks(
    codes: Sequence[int] = FOUND[0],
    shares: Sequence[float] = FOUND[1],
    num_classes: int = 1000,
    image_size: int = 224,
) -> nn.Sequential:
    """The network of a code (into `BLOCKS`) and a share of the channels for each block.

    Example:
        >>> round(sum(p.numel() for p in mn.spaces.shufflenet_v2.from_blocks().parameters()) / 1e6, 1)
        3.4
    """
    rest = list(zip(codes, shares, strict=True))

    def block(slot: Slot) -> nn.Module:
        code, share = rest.pop(0)
        return unit(slot, BLOCKS[code], share)

    return _network(block, num_classes, image_size)
