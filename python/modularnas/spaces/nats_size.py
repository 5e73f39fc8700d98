"""`nats_size`: NATS-Bench's size space (Dong et al. 2020, arXiv 2009.00437, section 3.2).

The network of `nasbench201` with one cell in a stage and a fixed topology; the channels of the stem and of the four
blocks after it are 8, 16, … 64: 8⁵ networks. All convolutions of a block have its channels, by one decision `block_0` …
`block_4`. The widths share weights (slimmable, arXiv 1812.08928): the first channels of the widest.

The supernet has a 1 x 1 convolution on the skip of the second and third cell whatever their widths; the published
networks leave it out where two blocks are equally wide, as `network` does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from modularnas.errors import SpaceError
from modularnas.ops import Slot, build
from modularnas.spaces.nasbench201 import Cell, ResidualBlock
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["CHANNELS", "create", "network"]

CHANNELS = (8, 16, 24, 32, 40, 48, 56, 64)
#: The best topology for CIFAR-10, which is fixed: an op on each edge, and whether it starts at the cell's input.
TOPOLOGY = (
    ("nor_conv_3x3", True),
    ("nor_conv_3x3", True),
    ("nor_conv_3x3", False),
    ("skip_connect", True),
    ("nor_conv_3x3", False),
    ("nor_conv_3x3", False),
)


def network(channels: Sequence[int], num_classes: int = 10, *, project: bool = False) -> nn.Sequential:
    """The published network of five numbers of channels.

    Args:
        channels: of the stem and the first cell, and of each block after it.
        num_classes: classes.
        project: whether the skips of the second and third cell have a convolution even between equal widths.

    Example:
        >>> net = mn.spaces.nats_size.network([8, 16, 16, 24, 64])
        >>> net(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    if len(channels) != 5:
        raise SpaceError(f"nats_size is given {len(channels)} numbers of channels; expected 5")
    layers: list[nn.Module] = []
    inside = channels[0]
    for i, outside in enumerate(channels):
        layers.append(ResidualBlock(inside, outside) if i in (1, 3) else _cell(inside, outside, project and i > 0))
        inside = outside
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, channels[0], 3, padding=1, bias=False), nn.BatchNorm2d(channels[0])),
        nn.Sequential(*layers),
        nn.BatchNorm2d(inside),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(inside, num_classes),
    )


def _cell(inside: int, outside: int, project: bool) -> nn.Module:
    def edge(name: str, first: bool) -> nn.Module:
        if name == "skip_connect" and first and project:
            return nn.Sequential(nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside))
        return build(name, Slot(inside if first else outside, outside))

    return Cell([edge(name, first) for name, first in TOPOLOGY])


@register("nats_size")
def create(num_classes: int = 10, image_size: int = 32) -> Parts:
    """The widest network with open channels; settings as in `mn.spaces.create`."""
    model = network([CHANNELS[-1]] * 5, num_classes, project=True)

    def block(path: str, module: nn.Module) -> str:
        # The stem is as wide as the first cell, whose skip adds it up.
        return f"block_{path.split('.')[1] if path.startswith('1.') else 0}"

    return model, [rules.width(*CHANNELS).named(block)], torch.randn(1, 3, image_size, image_size)
