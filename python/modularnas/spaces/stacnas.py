"""`stacnas`: DARTS' cells in two stages (Li et al. 2019, StacNAS, arXiv 1909.11926, section 3).

Ops that make similar features share their weight in a softmax and so hide one another. So they are put in groups, and
the first stage searches among one of each group. The second opens only the edges that were found, each among the ops of
its group. `create(stage=1)` and `create(stage=2, genotype=found)`; points of both are read by `genotype`, and networks
are trained by `mn.spaces.darts.from_genotype`. Groups are those of the paper (pools, separable, dilated convolutions; a
skip alone); both stages have `none`, as in ModularNAS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from modularnas.errors import SpaceError
from modularnas.ops import Slot
from modularnas.spaces import darts
from modularnas.spaces.darts import Genotype
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["GROUPS", "create", "genotype"]

#: The groups; the first op of each stands for it in the first stage.
GROUPS = (
    ("none",),
    ("skip_connect",),
    ("max_pool_3x3", "avg_pool_3x3"),
    ("sep_conv_3x3", "sep_conv_5x5"),
    ("dil_conv_3x3", "dil_conv_5x5"),
)


@register("stacnas")
def create(
    num_classes: int = 10,
    image_size: int = 32,
    channels: int = 16,
    layers: int = 14,
    stem: str = "cifar",
    stage: int = 1,
    genotype: Genotype | None = None,
) -> Parts:
    """The search network of a stage.

    Args:
        num_classes: classes.
        image_size: height and width of the pictures, in pixels.
        channels: channels of the first cells' nodes.
        layers: the number of cells; the paper searches 14, then 20.
        stem: "cifar" or "imagenet".
        stage: 1 or 2.
        genotype: for the second stage, what the first one found.
    """
    if stage not in (1, 2) or (stage == 2) != (genotype is not None):
        given = "a" if genotype is not None else "no"
        raise SpaceError(f"stacnas is given stage={stage} and {given} genotype; the second stage needs one")
    if genotype is None:
        ops = [group[0] for group in GROUPS]
        return darts.create(num_classes, image_size, channels, layers, stem, ops)
    cells = {kind: darts.by_node(getattr(genotype, kind)) for kind in darts.KINDS}

    def nodes(kind: str, width: int) -> tuple[list[darts.Node], Any]:
        made = [
            darts.Node(darts.Edge(source, Slot(width, width, darts.stride(kind, source))) for _, source in kept)
            for kept in cells[kind]
        ]
        return made, getattr(genotype, f"{kind}_concat")

    model = darts.network(num_classes, channels, layers, stem, nodes)
    kinds = darts.cell_kinds(layers)

    def place(path: str) -> tuple[str, int, int]:
        _, cell, _, node, _, edge, _ = path.split(".")
        return kinds[int(cell)], int(node), int(edge)

    def found(path: str) -> tuple[str, int]:
        kind, node, edge = place(path)
        return cells[kind][node][edge]

    def name(path: str, _: nn.Module) -> str:
        kind, node, _edge = place(path)
        return f"{kind}.{node}.{found(path)[1]}"

    opened = []
    for group in GROUPS:
        names = [*(["none"] if len(group) > 1 else []), *group]
        rule = rules.slots(
            [darts.searched(op) for op in names], where=lambda path, _, group=group: found(path)[0] in group
        )
        if rule.applied(dict(model.named_modules()))["targets"]:
            opened.append(rule.named(name))
    return model, opened, torch.randn(1, 3, image_size, image_size)


def genotype(point: Mapping[str, Any], first: Genotype | None = None) -> Genotype:
    """A point as a genotype: of the first stage, or of the second with what the first one found.

    Example:
        >>> supernet, _ = mn.spaces.create("stacnas", image_size=16, channels=4, layers=3)
        >>> first = mn.spaces.stacnas.genotype(supernet.space.sample(seed=0))
        >>> second, _ = mn.spaces.create("stacnas", image_size=16, channels=4, layers=3, stage=2, genotype=first)
        >>> len(mn.spaces.stacnas.genotype(second.space.sample(seed=0), first).normal)
        8
    """
    if first is None:
        return darts.genotype(point)
    cells = {
        kind: [
            (str(point[f"{kind}.{node}.{source}"]), source)
            for node, kept in enumerate(darts.by_node(getattr(first, kind)))
            for _, source in kept
        ]
        for kind in darts.KINDS
    }
    return first._replace(normal=cells["normal"], reduce=cells["reduce"])
