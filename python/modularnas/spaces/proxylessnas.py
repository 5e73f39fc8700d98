"""`proxylessnas`: ProxylessNAS' chain of 21 blocks (Cai, Zhu and Han 2018, arXiv 1812.00332, section 4.2).

Every block is an inverted residual of kernel 3, 5 or 7 and expansion 3 or 6, and those that keep the shape may be left
out ("zero": in the residual chain an identity), which gives 6⁶ · 7¹⁵ networks; the paper counts 7²¹. Widths are a
setting; the published ones of the search for mobile phones are the default. `MOBILE` is the network that was found:
4.1 M parameters and 320 M multiply-adds (table 2, figure 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from modularnas.errors import SpaceError
from modularnas.ops import Slot, build
from modularnas.spaces.mobilenet_v2 import chain, open_blocks
from modularnas.spaces.registry import Parts, register

__all__ = ["MOBILE", "create", "from_ops"]

NAMES = tuple(f"mbconv_k{k}_e{e}" for k in (3, 5, 7) for e in (3, 6))
#: Channels of the stages after the first block.
WIDTHS = (32, 40, 80, 96, 192, 320)
BLOCKS = (4, 4, 4, 4, 4, 1)
STRIDES = (2, 2, 2, 1, 2, 1)
#: The network found for mobile phones: (kernel, expansion) of each block; None is left out.
MOBILE = (
    (5, 3), (3, 3), None, None,
    (7, 3), (3, 3), (5, 3), (5, 3),
    (7, 6), (5, 3), (5, 3), (5, 3),
    (5, 6), (5, 3), (5, 3), (5, 3),
    (7, 6), (7, 6), (7, 3), (7, 3),
    (7, 6),
)  # fmt: skip


@register("proxylessnas")
def create(num_classes: int = 1000, image_size: int = 224, widths: Sequence[int] = WIDTHS) -> Parts:
    """The chain with open blocks; `widths`: channels of its six stages."""
    first = [True]

    def block(slot: Slot) -> nn.Module:
        return build("mbconv_k3_e1", slot) if first and first.pop() else slot

    model = chain(_stages(widths), block, num_classes, image_size)
    return model, open_blocks(NAMES, skip=True), torch.randn(1, 3, image_size, image_size)


def from_ops(
    ops: Sequence[tuple[int, int] | None] = MOBILE,
    num_classes: int = 1000,
    image_size: int = 224,
    widths: Sequence[int] = WIDTHS,
) -> nn.Sequential:
    """The network of (kernel, expansion) of each block.

    Example:
        >>> sum(p.numel() for p in mn.spaces.proxylessnas.from_ops().parameters())
        4080512
    """
    rest: list[tuple[int, int] | None] = [(3, 1), *ops]

    def block(slot: Slot) -> nn.Module:
        op = rest.pop(0)
        return nn.Identity() if op is None else build("mbconv_k{}_e{}".format(*op), slot)

    return chain(_stages(widths), block, num_classes, image_size)


def _stages(widths: Sequence[int]) -> list[tuple[int, int, int]]:
    if len(widths) != len(BLOCKS):
        raise SpaceError(f"proxylessnas is given {len(widths)} widths; expected {len(BLOCKS)}")
    return [(16, 1, 1), *zip(widths, BLOCKS, STRIDES, strict=True)]
