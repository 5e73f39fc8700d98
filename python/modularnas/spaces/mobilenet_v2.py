"""`mobilenet_v2`: kernel and expansion of every inverted residual (Sandler et al. 2018, MobileNetV2, arXiv 1801.04381).

The published chain (table 2) with the first block as it is; every other block chooses kernel 3, 5 or 7 and expansion 3
or 6 (6¹⁶ networks; the space of ModularNAS' tables and of ProxylessNAS, arXiv 1812.00332), and with `skip` the blocks
that keep the shape may be left out. Each choice is a candidate op of its own; for shared weights apply
`mn.rules.kernel_size` and `mn.rules.expansion` to `network` instead. `variant="gpu"` is the wide chain that ModularNAS
calls MobileNetV2-L: 21 blocks with the widths of ProxylessNAS. All kernels 3 and expansions 6 is MobileNetV2 itself:
3.50 M parameters and 0.30 G multiply-adds on ImageNet (table 4).

For pictures up to 64 pixels the stem and the last halving stage keep the size, as in ModularNAS' CIFAR networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from modularnas.errors import SpaceError
from modularnas.ops import Slot, build
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["STAGES", "chain", "create", "network"]

#: Channels, blocks and stride of each stage.
STAGES = {
    "standard": ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)),
    "gpu": ((16, 1, 1), (24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)),
}
#: Pictures up to this size, in pixels, are halved three times and not five times.
SMALL = 64


def chain(
    stages: Sequence[tuple[int, int, int]],
    block: Callable[[Slot], nn.Module],
    num_classes: int,
    image_size: int,
    last: int = 1280,
    width: float = 1.0,
) -> nn.Sequential:
    """Stem, blocks, a 1 x 1 convolution to `last` channels, and the classifier.

    Args:
        stages: channels, blocks and stride of each stage; the stride is that of its first block.
        block: what takes each block's place; it is given a slot.
        num_classes: classes.
        image_size: height and width of the pictures, in pixels.
        last: channels before the classifier.
        width: what all channels are multiplied by; `last` only where it is more than 1.
    """
    small = image_size <= SMALL
    stem = channels = _eights(32 * width)
    last = max(last, _eights(last * width))
    blocks: list[nn.Module] = []
    for i, (given, n, stride) in enumerate(stages):
        outside = _eights(given * width)
        for j in range(n):
            keeps = j > 0 or (small and i == len(stages) - 2)
            blocks.append(block(Slot(channels, outside, 1 if keeps else stride)))
            channels = outside
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=1 if small else 2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU6()
        ),
        nn.Sequential(*blocks),
        nn.Sequential(nn.Conv2d(channels, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU6()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(last, num_classes),
    )


def network(num_classes: int = 1000, image_size: int = 224, variant: str = "standard") -> nn.Sequential:
    """The unsearched network: every kernel 3 and every expansion 6.

    Example:
        >>> sum(p.numel() for p in mn.spaces.mobilenet_v2.network().parameters())
        3504872
    """
    first = [True]

    def block(slot: Slot) -> nn.Module:
        return build("mbconv_k3_e1" if first and first.pop() else "mbconv_k3_e6", slot)

    return chain(_stages(variant), block, num_classes, image_size)


@register("mobilenet_v2")
def create(
    num_classes: int = 1000,
    image_size: int = 224,
    variant: str = "standard",
    kernel_sizes: Sequence[int] = (3, 5, 7),
    expansions: Sequence[int] = (3, 6),
    skip: bool = False,
    width: float = 1.0,
) -> Parts:
    """The chain with open blocks.

    Args:
        num_classes: classes.
        image_size: height and width of the pictures, in pixels.
        variant: "standard" or "gpu".
        kernel_sizes: of the depthwise convolutions.
        expansions: of the channels inside a block.
        skip: whether blocks that keep the shape may be left out.
        width: what all channels are multiplied by.
    """
    first = [True]

    def block(slot: Slot) -> nn.Module:
        return build("mbconv_k3_e1", slot) if first and first.pop() else slot

    model = chain(_stages(variant), block, num_classes, image_size, width=width)
    names = [f"mbconv_k{k}_e{e}" for k in kernel_sizes for e in expansions]
    return model, open_blocks(names, skip=skip), torch.randn(1, 3, image_size, image_size)


def open_blocks(names: Sequence[str], *, skip: bool) -> list[rules.Rule]:
    """The rules that open the slots of a chain; those that keep the shape may also become an identity."""
    if not skip:
        return [rules.slots(names)]
    keeps = rules.slots([*names, "identity"], where=lambda path, slot: bool(slot.keeps_shape))
    return [keeps, rules.slots(names, where=lambda path, slot: not slot.keeps_shape)]


def _stages(variant: str) -> Sequence[tuple[int, int, int]]:
    if variant not in STAGES:
        raise SpaceError(f"mobilenet_v2 is given variant={variant!r}; expected one of {list(STAGES)}")
    return STAGES[variant]


def _eights(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and nine tenths of the channels, as in MobileNet's code."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
