"""`pyramidnet`: kernels of a network that widens with every block (Han, Kim and Kim 2016, arXiv 1610.02915).

The additive PyramidNet of basic blocks: after a stem of 16 channels each of 3 · n blocks adds alpha / 3n channels
(equation 3), shortcuts average and pad with zeros. Each block has kernel 3, 5 or 7. Kernel 3 everywhere is the
published network: with 110 layers (n = 18), 1.7 M parameters for alpha = 48 and 3.8 M for alpha = 84 (table 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from modularnas.ops import Slot
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["create", "network"]


def network(
    block: Callable[[Slot], nn.Module],
    num_classes: int = 10,
    blocks: Sequence[int] = (18, 18, 18),
    alpha: float = 48,
    channels: int = 16,
    in_channels: int = 3,
) -> nn.Sequential:
    """Stem, stages of blocks, and the classifier.

    Args:
        block: what takes each block's place; it is given a slot.
        num_classes: classes.
        blocks: their number in each stage; the first block of all stages but the first halves the picture.
        alpha: how many channels all blocks together add.
        channels: of the stem.
        in_channels: of the pictures.
    """
    width, inside, layers = float(channels), channels, []
    for i, n in enumerate(blocks):
        for j in range(n):
            width += alpha / sum(blocks)
            layers.append(block(Slot(inside, round(width), 2 if i and not j else 1)))
            inside = round(width)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)),
        nn.Sequential(*layers),
        nn.BatchNorm2d(inside),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(inside, num_classes),
    )


@register("pyramidnet")
def create(
    num_classes: int = 10,
    image_size: int = 32,
    blocks: Sequence[int] = (3, 3, 3),
    alpha: float = 48,
    kernel_sizes: Sequence[int] = (3, 5, 7),
    channels: int = 16,
    in_channels: int = 3,
) -> Parts:
    """The network with open kernels.

    Args:
        num_classes: classes.
        image_size: height and width of the pictures, in pixels.
        blocks: of each stage; (18, 18, 18) are the published 110 layers.
        alpha: how many channels all blocks together add.
        kernel_sizes: of each block.
        channels: of the stem.
        in_channels: of the pictures.
    """
    model = network(lambda slot: slot, num_classes, blocks, alpha, channels, in_channels)
    names = [f"pyramid_block_{k}x{k}" for k in kernel_sizes]
    return model, [rules.slots(names)], torch.randn(1, in_channels, image_size, image_size)
