"""`darts`: cells of two kinds, each a small graph whose edges are ops (Liu, Simonyan and Yang 2018, arXiv 1806.09055).

A cell has two inputs (the outputs of the two cells before) and four nodes; a node adds up what its edges make of the
inputs and the nodes before it, and the nodes' concatenation is the cell's output. Cells at one and at two thirds of the
depth halve the picture ("reduce"), all others keep it ("normal"). All cells of a kind are alike: one decision for an
edge of a kind, whatever the number of cells.

A point keeps two edges of each node (decisions `normal.2.edges`, a subset of the node's inputs) and says the op of each
of these (`normal.2.0`: the edge from input 0 to node 2); so it is a genotype, and the networks of points are those of
the paper. A relaxation weighs all edges and all eight ops. Without `none`, which no genotype has, the space has the
paper's (prod_k k (k + 1) / 2 · 7²)² = 1.1e18 points (section A.1.1's "10^18").

In the search network batch norms have no scale and shift and follow the pools too, as in section A.1.1 and the authors'
code; `from_genotype` is the network that is trained afterwards, without these. Sizes: 16 channels and 8 cells to
search, 36 and 20 to train on CIFAR, 48 and 14 on ImageNet (sections 3.1 and 3.2; stems as in the authors' code).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from modularnas import _core
from modularnas.errors import SpaceError
from modularnas.ops import Slot, build
from modularnas.ops.identity import FactorizedReduce
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = [
    "DARTS_V1",
    "DARTS_V2",
    "KINDS",
    "OPS",
    "Cell",
    "Edge",
    "Genotype",
    "Node",
    "by_node",
    "cell_kinds",
    "create",
    "from_genotype",
    "genotype",
    "network",
    "point",
    "searched",
    "stride",
]

#: The candidate ops, by their published names.
OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
KINDS = ("normal", "reduce")
N_NODES = 4
#: Edges that a node keeps.
N_KEPT = 2


class Genotype(NamedTuple):
    """A pair of cells in the published notation.

    For each node (op, input) of two edges, inputs 0 and 1 being the cells before; and which inputs and nodes make the
    output.
    """

    normal: Sequence[tuple[str, int]]
    normal_concat: Sequence[int]
    reduce: Sequence[tuple[str, int]]
    reduce_concat: Sequence[int]


#: First order (CIFAR-10: 3.00 ± 0.14 % test error, 3.3 M parameters; table 1).
DARTS_V1 = Genotype(
    normal=[
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("skip_connect", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 2),
    ],
    normal_concat=[2, 3, 4, 5],
    reduce=[
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 0),
        ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("avg_pool_3x3", 0),
    ],
    reduce_concat=[2, 3, 4, 5],
)  # fmt: skip
#: Second order (CIFAR-10: 2.76 ± 0.09 %, 3.3 M parameters; ImageNet: 26.7 %, 4.7 M, 574 M multiply-adds).
DARTS_V2 = Genotype(
    normal=[
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
    ],
    normal_concat=[2, 3, 4, 5],
    reduce=[
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
        ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1),
    ],
    reduce_concat=[2, 3, 4, 5],
)  # fmt: skip


class Edge(nn.Module):
    """An op on one of the tensors that a cell has so far."""

    def __init__(self, source: int, op: nn.Module) -> None:
        super().__init__()
        self.source = source
        self.op = op

    def forward(self, states: list[Tensor]) -> Tensor:
        """`states`: the cell's inputs and nodes, each `(N, C, H, W)`."""
        out: Tensor = self.op(states[self.source])
        return out


class Node(nn.Module):
    """The sum of its edges."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edges)

    def forward(self, states: list[Tensor]) -> Tensor:
        """As of an edge."""
        first, *others = [edge(states) for edge in self.edges]
        out: Tensor = first
        for other in others:
            out = out + other
        return out


class Cell(nn.Module):
    """A cell: `(N, c0, H, W)` and `(N, c1, H, W)` to `(N, len(concat) · channels, H, W)`, halved if it reduces."""

    def __init__(self, before: tuple[nn.Module, nn.Module], nodes: Iterable[nn.Module], concat: Sequence[int]) -> None:
        super().__init__()
        self.before0, self.before1 = before
        self.nodes = nn.ModuleList(nodes)
        self.concat = list(concat)

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        """The outputs of the cell before the last, and of the last."""
        states = [self.before0(x0), self.before1(x1)]
        for node in self.nodes:
            states.append(node(states))
        return torch.cat([states[i] for i in self.concat], dim=1)


class Network(nn.Module):
    """Cells after a stem: pictures `(N, 3, H, W)` to logits `(N, classes)`.

    With an auxiliary head it returns a pair: logits, and those of the head at two thirds of the depth, for the loss.
    """

    def __init__(
        self,
        stem: nn.ModuleList,
        cells: Iterable[Cell],
        classifier: nn.Module,
        auxiliary: nn.Module | None = None,
        auxiliary_after: int = -1,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.cells = nn.ModuleList(cells)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier
        self.auxiliary = auxiliary
        self.auxiliary_after = auxiliary_after

    def forward(self, x: Tensor) -> Any:
        """Shapes as in the class."""
        x0 = self.stem[0](x)
        x1 = self.stem[1](x0) if len(self.stem) > 1 else x0
        extra = None
        for i, cell in enumerate(self.cells):
            x0, x1 = x1, cell(x0, x1)
            if self.auxiliary is not None and i == self.auxiliary_after:
                extra = self.auxiliary(x1)
        logits = self.classifier(torch.flatten(self.pool(x1), 1))
        return logits if self.auxiliary is None else (logits, extra)


@register("darts")
def create(
    num_classes: int = 10,
    image_size: int = 32,
    channels: int = 16,
    layers: int = 8,
    stem: str = "cifar",
    ops: Sequence[str] = OPS,
) -> Parts:
    """The search network.

    Args:
        num_classes: classes.
        image_size: height and width of the pictures, in pixels.
        channels: channels of the first cells' nodes; doubled where the picture is halved.
        layers: the number of cells, 3 or more.
        stem: "cifar", or "imagenet", which divides height and width by 8.
        ops: the candidate ops, a selection of `OPS`.
    """
    unknown = set(ops) - set(OPS)
    if unknown:
        raise SpaceError(f"darts is given the ops {sorted(unknown)}; expected some of {list(OPS)}")

    def nodes(kind: str, width: int) -> tuple[list[Node], Sequence[int]]:
        made = [
            Node(Edge(source, Slot(width, width, stride(kind, source))) for source in range(2 + node))
            for node in range(N_NODES)
        ]
        return made, range(2, 2 + N_NODES)

    model = network(num_classes, channels, layers, stem, nodes)
    kinds = cell_kinds(layers)

    def edges(path: str, module: nn.Module) -> str:
        _, cell, _, node, _ = path.split(".")
        return f"{kinds[int(cell)]}.{node}.edges"

    def op(path: str, module: nn.Module) -> str:
        _, cell, _, node, _, edge, _ = path.split(".")
        return f"{kinds[int(cell)]}.{node}.{edge}"

    opened = [
        rules.subset(N_KEPT, where="cells.*.edges").named(edges),
        rules.slots([searched(name) for name in ops]).named(op),
    ]
    return model, opened, torch.randn(1, 3, image_size, image_size)


def genotype(point: Mapping[str, Any]) -> Genotype:
    """A point of the space in the published notation.

    Example:
        >>> supernet, _ = mn.spaces.create("darts", image_size=16, channels=4, layers=3)
        >>> found = mn.spaces.darts.genotype(supernet.space.sample(seed=0))
        >>> len(found.normal), list(found.normal_concat)
        (8, [2, 3, 4, 5])
    """
    cells = {
        kind: [
            (str(point[f"{kind}.{node}.{edge}"]), int(edge))
            for node in range(N_NODES)
            for edge in (point[f"{kind}.{node}.edges"] if node else (0, 1))
        ]
        for kind in KINDS
    }
    concat = list(range(2, 2 + N_NODES))
    return Genotype(cells["normal"], concat, cells["reduce"], concat)


def point(genotype: Genotype, space: _core.SearchSpace) -> _core.Point:
    """A genotype as a point of the space of `create`.

    Raises:
        SpaceError: if the space does not hold it.

    Example:
        >>> supernet, _ = mn.spaces.create("darts", image_size=16, channels=4, layers=3)
        >>> mn.spaces.darts.point(mn.spaces.darts.DARTS_V2, supernet.space)["normal.3.edges"]
        (0, 2)
    """
    values: dict[str, Any] = {}
    for kind in KINDS:
        for node, kept in enumerate(by_node(getattr(genotype, kind))):
            if node:
                values[f"{kind}.{node}.edges"] = tuple(sorted(source for _, source in kept))
            values.update({f"{kind}.{node}.{source}": op for op, source in kept})
    return space.point(values)


def from_genotype(
    genotype: Genotype,
    *,
    num_classes: int = 10,
    channels: int = 36,
    layers: int = 20,
    stem: str = "cifar",
    auxiliary: bool = False,
) -> nn.Module:
    """The network of a genotype that is trained afterwards.

    Args:
        genotype: two cells in the published notation; ops are those of `OPS`, or any of `mn.ops.names()`.
        num_classes: classes.
        channels: channels of the first cells' nodes.
        layers: the number of cells, 3 or more.
        stem: "cifar", or "imagenet", which divides height and width by 8.
        auxiliary: whether it has the auxiliary head of section A.1.2 (for pictures of 32 pixels, or 224 with the stem
            "imagenet"). It then returns a pair of logits; the loss counts the second with weight 0.4.

    Raises:
        SpaceError: for an unknown stem.
        RuleError: for an unknown op.

    Example:
        >>> net = mn.spaces.darts.from_genotype(mn.spaces.darts.DARTS_V2, channels=4, layers=3)
        >>> net(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def nodes(kind: str, width: int) -> tuple[list[Node], Sequence[int]]:
        made = [
            Node(Edge(source, _op(op, width, stride(kind, source))) for op, source in kept)
            for kept in by_node(getattr(genotype, kind))
        ]
        return made, getattr(genotype, f"{kind}_concat")

    return network(num_classes, channels, layers, stem, nodes, auxiliary)


def by_node(cell: Sequence[tuple[str, int]]) -> list[Sequence[tuple[str, int]]]:
    """The edges of each node of a published cell."""
    return [cell[i : i + N_KEPT] for i in range(0, len(cell), N_KEPT)]


def cell_kinds(layers: int) -> list[str]:
    """The kind of each cell of a network."""
    return ["reduce" if i in (layers // 3, 2 * layers // 3) else "normal" for i in range(layers)]


def stride(kind: str, source: int) -> int:
    """The stride of an edge: a cell that reduces halves its two inputs."""
    return 2 if kind == "reduce" and source < 2 else 1


def network(
    num_classes: int,
    channels: int,
    layers: int,
    stem: str,
    nodes: Callable[[str, int], tuple[Iterable[nn.Module], Sequence[int]]],
    auxiliary: bool = False,
) -> Network:
    """Cells after a stem.

    Args:
        num_classes: classes.
        channels: channels of the first cells' nodes; doubled where the picture is halved.
        layers: the number of cells, 3 or more.
        stem: "cifar", or "imagenet", which divides height and width by 8.
        nodes: the nodes of a cell of a kind with some channels, and the numbers of the states that make its output.
        auxiliary: whether it has the auxiliary head.

    Raises:
        SpaceError: for an unknown stem or fewer than three cells.
    """
    if stem not in ("cifar", "imagenet"):
        raise SpaceError(f"a network of cells is given stem={stem!r}; expected 'cifar' or 'imagenet'")
    if layers < 3:
        raise SpaceError(f"a network of cells is given layers={layers}; expected 3 or more, as two of them reduce")
    width = channels
    first = (3 * channels, 3 * channels) if stem == "cifar" else (channels, channels)
    before, last = first
    reduced = stem == "imagenet"
    cells, after, head = [], 2 * layers // 3, None
    for i, kind in enumerate(cell_kinds(layers)):
        if kind == "reduce":
            width *= 2
        made, concat = nodes(kind, width)
        shrink = FactorizedReduce(before, width) if reduced else _project(before, width)
        cells.append(Cell((shrink, _project(last, width)), made, concat))
        reduced = kind == "reduce"
        before, last = last, len(concat) * width
        if auxiliary and i == after:
            head = _auxiliary(last, num_classes, 3 if stem == "cifar" else 2)
    return Network(_stem(stem, channels), cells, nn.Linear(last, num_classes), head, after)


def _stem(stem: str, channels: int) -> nn.ModuleList:
    if stem == "cifar":
        return nn.ModuleList([nn.Sequential(*_conv(3, 3 * channels, 3, padding=1))])
    first = nn.Sequential(
        *_conv(3, channels // 2, 3, stride=2, padding=1),
        nn.ReLU(),
        *_conv(channels // 2, channels, 3, stride=2, padding=1),
    )
    return nn.ModuleList([first, nn.Sequential(nn.ReLU(), *_conv(channels, channels, 3, stride=2, padding=1))])


def _conv(inside: int, outside: int, kernel_size: int, **settings: Any) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, kernel_size, bias=False, **settings), nn.BatchNorm2d(outside)]


def _project(inside: int, outside: int) -> nn.Module:
    return nn.Sequential(nn.ReLU(), *_conv(inside, outside, 1))


def _auxiliary(channels: int, num_classes: int, stride: int) -> nn.Module:
    """The head for the loss, on pictures of 8 x 8 (CIFAR) or 14 x 14 (ImageNet)."""
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, stride=stride, padding=0, count_include_pad=False),
        *_conv(channels, 128, 1),
        nn.ReLU(),
        *_conv(128, 768, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(768, num_classes),
    )


def _op(name: str, channels: int, stride: int) -> nn.Module:
    if name == "skip_connect" and stride == 2:
        return FactorizedReduce(channels, channels)
    return build(name, Slot(channels, channels, stride))


def searched(name: str) -> Callable[[Slot], nn.Module]:
    """A candidate: an op as it is searched: without scales and shifts, and with a norm after a pool."""

    def candidate(slot: Slot) -> nn.Module:
        op = build(f"{name}_bn" if "pool" in name else name, slot)
        for module in list(op.modules()):
            if isinstance(module, nn.BatchNorm2d):
                module.affine = False
                module.register_parameter("weight", None)
                module.register_parameter("bias", None)
        return op

    candidate.__name__ = name
    return candidate
