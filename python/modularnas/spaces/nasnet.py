"""`nasnet`: the cells of NASNet (Zoph et al. 2017, arXiv 1707.07012, section 3).

A cell has five blocks; a block picks two of the states before it, with replacement, an op for each of 13 (figure 2),
and adds the results: (∏ 13² (i + 1)²) of each kind, 5.1e33 points in all. Networks, stems and the notation of
genotypes are those of `darts`; `NASNET_A` and `AMOEBANET_A` (Real et al. 2018, arXiv 1802.01548) are in it as DARTS'
authors wrote them.
Deviations: blocks only add (the paper's search may also concatenate), and every block is part of the cell's output,
where the paper concatenates those that no other block reads: which ones depends on the point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from modularnas.ops import Slot
from modularnas.spaces.darts import KINDS, Edge, Genotype, Node, cell_kinds, from_genotype, network, searched, stride
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["AMOEBANET_A", "NASNET_A", "OPS", "create", "from_genotype", "genotype"]

#: The candidate ops.
OPS = (
    "skip_connect",
    "conv_1x3_3x1",
    "conv_1x7_7x1",
    "dil_conv_3x3",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
)
N_BLOCKS = 5
#: CIFAR-10: 2.65 % test error, 3.3 M parameters (table 1, with cutout).
NASNET_A = Genotype(
    normal=[
        ("sep_conv_5x5", 1), ("sep_conv_3x3", 0), ("sep_conv_5x5", 0), ("sep_conv_3x3", 0), ("avg_pool_3x3", 1),
        ("skip_connect", 0), ("avg_pool_3x3", 0), ("avg_pool_3x3", 0), ("sep_conv_3x3", 1), ("skip_connect", 1),
    ],
    normal_concat=[2, 3, 4, 5, 6],
    reduce=[
        ("sep_conv_5x5", 1), ("sep_conv_7x7", 0), ("max_pool_3x3", 1), ("sep_conv_7x7", 0), ("avg_pool_3x3", 1),
        ("sep_conv_5x5", 0), ("skip_connect", 3), ("avg_pool_3x3", 2), ("sep_conv_3x3", 2), ("max_pool_3x3", 1),
    ],
    reduce_concat=[4, 5, 6],
)  # fmt: skip
#: CIFAR-10: 3.34 ± 0.06 %, 3.2 M parameters.
AMOEBANET_A = Genotype(
    normal=[
        ("avg_pool_3x3", 0), ("max_pool_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_5x5", 2), ("sep_conv_3x3", 0),
        ("avg_pool_3x3", 3), ("sep_conv_3x3", 1), ("skip_connect", 1), ("skip_connect", 0), ("avg_pool_3x3", 1),
    ],
    normal_concat=[4, 5, 6],
    reduce=[
        ("avg_pool_3x3", 0), ("sep_conv_3x3", 1), ("max_pool_3x3", 0), ("sep_conv_7x7", 2), ("sep_conv_7x7", 0),
        ("avg_pool_3x3", 1), ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("conv_7x1_1x7", 0), ("sep_conv_3x3", 5),
    ],
    reduce_concat=[3, 4, 6],
)  # fmt: skip


class Block(nn.Module):
    """The sum of two picks, each one edge of several."""

    def __init__(self, first: Node, second: Node) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, states: list[torch.Tensor]) -> torch.Tensor:
        """`states`: the cell's inputs and blocks, each `(N, C, H, W)`."""
        out: torch.Tensor = self.first(states) + self.second(states)
        return out


@register("nasnet")
def create(
    num_classes: int = 10,
    image_size: int = 32,
    channels: int = 16,
    layers: int = 8,
    stem: str = "cifar",
    ops: Sequence[str] = OPS,
) -> Parts:
    """The search network; settings as in `darts`."""

    def nodes(kind: str, width: int) -> tuple[list[nn.Module], Sequence[int]]:
        def pick(block: int) -> Node:
            return Node(Edge(source, Slot(width, width, stride(kind, source))) for source in range(2 + block))

        return [Block(pick(block), pick(block)) for block in range(N_BLOCKS)], range(2, 2 + N_BLOCKS)

    model = network(num_classes, channels, layers, stem, nodes)
    kinds = cell_kinds(layers)

    def place(path: str) -> str:
        _, cell, _, block, pick, *_ = path.split(".")
        return f"{kinds[int(cell)]}.{block}.{pick}"

    opened = [
        rules.subset(1, where="cells.*.edges").named(lambda path, _: f"{place(path)}.input"),
        rules.slots([searched(name) for name in ops]).named(lambda path, _: f"{place(path)}.{path.split('.')[-2]}"),
    ]
    return model, opened, torch.randn(1, 3, image_size, image_size)


def genotype(point: Mapping[str, Any]) -> Genotype:
    """A point of the space in the notation of `darts`.

    Example:
        >>> supernet, _ = mn.spaces.create("nasnet", image_size=16, channels=4, layers=3, ops=["skip_connect"])
        >>> len(mn.spaces.nasnet.genotype(supernet.space.sample(seed=0)).normal)
        10
    """
    cells = {}
    for kind in KINDS:
        picks = [f"{kind}.{block}.{pick}" for block in range(N_BLOCKS) for pick in ("first", "second")]
        sources = [point[f"{pick}.input"][0] for pick in picks]
        cells[kind] = [
            (str(point[f"{pick}.{source}"]), int(source)) for pick, source in zip(picks, sources, strict=True)
        ]
    concat = list(range(2, 2 + N_BLOCKS))
    return Genotype(cells["normal"], concat, cells["reduce"], concat)
