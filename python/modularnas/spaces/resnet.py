"""`resnet`: kernels or block variants of residual networks (He et al. 2015, arXiv 1512.03385).

ResNet-10 to 152 with the published stages (table 1) for large pictures, ResNet-20 to 110 with three stages of 16, 32
and 64 channels for CIFAR (section 4.2; shortcuts project where the paper pads with zeros). Three spaces:

- `search="kernel"`: the k x k convolution of every block is 3, 5 or 7 wide and shares one weight;
- `search="op"`: the same with a weight of its own for each kernel, as in ModularNAS' ResNet-50 (NC3, NC5, NC7);
- `search="block"`: each block is one of its variants: kernel 3 or 5, pre-activation (He et al. 2016, arXiv 1603.05027),
  squeeze and excitation (arXiv 1709.01507).

All kernels 3 is the published network: ResNet-50 has 25.56 M parameters and 4.09 G multiply-adds. Up to 64 pixels the
stem is a 3 x 3 convolution without pooling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from modularnas.errors import SpaceError
from modularnas.ops import Slot, build
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["DEPTHS", "create", "network", "open_blocks"]

#: Blocks of each stage; from 50 on they are bottlenecks, three stages are those for CIFAR.
DEPTHS: dict[int, tuple[int, ...]] = {
    10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 40: (4, 4, 7, 4),
    50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
    20: (3, 3, 3), 32: (5, 5, 5), 56: (9, 9, 9), 110: (18, 18, 18),
}  # fmt: skip
SEARCHES = ("kernel", "op", "block")


def network(
    block: Callable[[Slot], nn.Module],
    blocks: Sequence[int],
    channels: int,
    num_classes: int,
    image_size: int,
    *,
    width: int = 64,
    in_channels: int = 3,
) -> nn.Sequential:
    """Stem, stages of blocks, and the classifier.

    Args:
        block: what takes each block's place; it is given a slot.
        blocks: their number in each stage; the first block of all stages but the first halves the picture.
        channels: of the first stage's output; doubled in the next ones.
        num_classes: classes.
        image_size: height and width of the pictures, in pixels; up to 64 the stem keeps the size.
        width: channels of the stem.
        in_channels: of the pictures.
    """
    stem: list[nn.Module]
    if image_size <= 64:
        stem = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    else:
        conv = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        stem = [conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
    stages = []
    for i, n in enumerate(blocks):
        stage = []
        for j in range(n):
            stage.append(block(Slot(width, channels, 2 if i and not j else 1)))
            width = channels
        stages.append(nn.Sequential(*stage))
        channels *= 2
    return nn.Sequential(
        nn.Sequential(*stem),
        nn.Sequential(*stages),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, num_classes),
    )


def open_blocks(search: str, kernel_sizes: Sequence[int]) -> list[rules.Rule]:
    """The rules of a space over the blocks of `network`."""
    if search not in SEARCHES:
        raise SpaceError(f"search is {search!r}; expected one of {list(SEARCHES)}")

    def in_block(path: str, module: nn.Module) -> bool:
        return path.startswith("1.") and isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)

    if search == "kernel":
        return [rules.kernel_size(*kernel_sizes, where=in_block)]
    return [rules.replace(nn.Conv2d, [_conv(k) for k in kernel_sizes], where=in_block)]


def _conv(k: int) -> Callable[[Slot], nn.Module]:
    """The given convolution with another kernel, its own weight, and the given one's groups."""

    def conv(slot: Slot) -> nn.Module:
        given = slot.original
        assert isinstance(given, nn.Conv2d)
        return nn.Conv2d(
            given.in_channels,
            given.out_channels,
            k,
            stride=slot.strides[0],
            padding=k // 2,
            groups=given.groups,
            bias=False,
        )

    conv.__name__ = f"conv_{k}x{k}"
    return conv


@register("resnet")
def create(
    num_classes: int = 1000,
    image_size: int = 224,
    depth: int | None = None,
    search: str = "kernel",
    kernel_sizes: Sequence[int] = (3, 5, 7),
) -> Parts:
    """A ResNet with open kernels or blocks.

    Args:
        num_classes: classes.
        image_size: height and width of the pictures, in pixels.
        depth: one of `DEPTHS`; None: 18 up to 64 pixels, else 50.
        search: "kernel", "op" or "block", as the file says.
        kernel_sizes: the kernels of the first two.
    """
    depth = depth or (18 if image_size <= 64 else 50)
    if depth not in DEPTHS:
        raise SpaceError(f"resnet is given depth={depth}; expected one of {sorted(DEPTHS)}")
    blocks = DEPTHS[depth]
    deep, small = len(blocks) == 4 and depth >= 50, len(blocks) == 3
    kind = "bottleneck" if deep else "basic_block"
    channels, width = (256, 64) if deep else (16, 16) if small else (64, 64)
    example = torch.randn(1, 3, image_size, image_size)
    if search == "block":
        variants = [f"{kind}_3x3", f"{kind}_5x5", f"{kind}_3x3_preact", f"{kind}_3x3_se"]
        model = network(lambda slot: slot, blocks, channels, num_classes, image_size, width=width)
        return model, [rules.slots(variants)], example
    model = network(lambda slot: build(f"{kind}_3x3", slot), blocks, channels, num_classes, image_size, width=width)
    return model, open_blocks(search, kernel_sizes), example
