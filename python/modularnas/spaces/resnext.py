"""`resnext`: kernels of the grouped convolutions (Xie et al. 2016, ResNeXt, arXiv 1611.05431).

ResNeXt-50 (32 groups of 4 channels) and ResNeXt-101 (32 of 8), with the spaces of `resnet` over their grouped
convolutions: `search="kernel"` shares one weight among kernels 3, 5 and 7, `search="op"` gives each its own. All
kernels 3 is the published network: ResNeXt-50 has 25.03 M parameters and 4.23 G multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from modularnas.errors import SpaceError
from modularnas.ops import build
from modularnas.spaces import resnet
from modularnas.spaces.registry import Parts, register

__all__ = ["create"]

#: By depth: blocks of each stage, and the block.
VARIANTS = {50: ((3, 4, 6, 3), "bottleneck_3x3_r2_g32"), 101: ((3, 4, 23, 3), "bottleneck_3x3_r1_g32")}


@register("resnext")
def create(
    num_classes: int = 1000,
    image_size: int = 224,
    depth: int = 50,
    search: str = "kernel",
    kernel_sizes: Sequence[int] = (3, 5, 7),
) -> Parts:
    """A ResNeXt with open kernels; `depth` is 50 or 101, the others as in `resnet`."""
    if depth not in VARIANTS or search == "block":
        raise SpaceError(f"resnext is given depth={depth}, search={search!r}; expected 50 or 101, 'kernel' or 'op'")
    blocks, name = VARIANTS[depth]
    model = resnet.network(lambda slot: build(name, slot), blocks, 256, num_classes, image_size)
    return model, resnet.open_blocks(search, kernel_sizes), torch.randn(1, 3, image_size, image_size)
