"""`nasbench101`: NAS-Bench-101's cells (Ying et al. 2019, arXiv 1902.09635).

A cell is a graph of at most seven vertices, the first its input and the last its output, and nine edges, with a 3 x 3
or 1 x 1 convolution or a 3 x 3 max pool on each of the five between; nine equal cells, in stacks of three, make the
network (section 2.2 and 2.3). `from_cell` is that network, with the published number of channels at each vertex
(`_compute_vertex_channels` of the authors' code): it has the published number of parameters for every cell.

How many channels a vertex has depends on the whole graph there, which no shared weight can follow. So in the supernet
every vertex has all the output's channels, and the output adds what the paper concatenates, as usual for one-shot
studies of this benchmark (Yu et al. 2019, arXiv 1902.08142, section 4). It has the 2²¹ · 3⁵ = 509,607,936 points of the
published matrices and ops; those that are no cells, and those that are the same cell, are points too. Points become
those of `mn.benchmarks.NASBench101` by `to_benchmark`, cells of `from_cell` by `to_cell`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from modularnas.errors import SpaceError
from modularnas.ops import Slot, build
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["OPS", "create", "from_cell", "to_benchmark", "to_cell"]

#: The candidate ops, by their published names.
OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
N_VERTICES = 7
Matrix = Sequence[Sequence[int]]


class SharedCell(nn.Module):
    """The cell of the supernet: `(N, in, H, W)` to `(N, out, H, W)`."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {f"{a}_{b}": Slot(outside if a else inside, outside) for b in range(1, N_VERTICES) for a in range(b)}
        )
        self.ops = nn.ModuleList(Slot(outside, outside) for _ in range(N_VERTICES - 2))

    def forward(self, x: Tensor) -> Tensor:
        """Every vertex is the op of the sum of its edges; the output is their sum."""
        vertices = [x]
        for b in range(1, N_VERTICES):
            total = self.edges[f"0_{b}"](vertices[0])
            for a in range(1, b):
                total = total + self.edges[f"{a}_{b}"](vertices[a])
            vertices.append(self.ops[b - 1](total) if b < N_VERTICES - 1 else total)
        return vertices[-1]


class PlainCell(nn.Module):
    """A cell with the published channels: `(N, in, H, W)` to `(N, out, H, W)`."""

    def __init__(self, matrix: Matrix, ops: Sequence[str], inside: int, outside: int) -> None:
        super().__init__()
        last = len(matrix) - 1
        channels = _channels(matrix, outside)
        self.inputs = [[a for a in range(1, b) if matrix[a][b]] for b in range(last + 1)]
        self.projections = nn.ModuleDict(
            {str(b): _conv(inside, channels[b]) for b in range(1, last + 1) if matrix[0][b]}
        )
        self.ops = nn.ModuleList(
            build(op, Slot(channels[b], channels[b])) for b, op in enumerate(ops, start=1) if channels[b]
        )
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """As in the paper: a vertex adds its inputs cut to its channels, the output concatenates."""
        last = len(self.inputs) - 1
        vertices = [x]
        for b in range(1, last):
            given = [vertices[a][:, : self.channels[b]] for a in self.inputs[b]]
            if str(b) in self.projections:
                given.append(self.projections[str(b)](x))
            total = given[0]
            for other in given[1:]:
                total = total + other
            vertices.append(self.ops[b - 1](total))
        parts = [vertices[a] for a in self.inputs[last]]
        if not parts:
            return torch.as_tensor(self.projections[str(last)](x))
        out = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        if str(last) in self.projections:
            out = out + self.projections[str(last)](x)
        return out


def _conv(inside: int, outside: int) -> nn.Module:
    return build("conv_bn_relu_1x1", Slot(inside, outside, bias=False))


def _channels(matrix: Matrix, outside: int) -> list[int]:
    """Channels of each vertex: those that the output reads share its channels, the others have the most of theirs."""
    last = len(matrix) - 1
    reads = [a for a in range(1, last) if matrix[a][last]]
    channels = [0] * (last + 1)
    channels[last] = outside
    for i, a in enumerate(reads):
        channels[a] = outside // len(reads) + (1 if i < outside % len(reads) else 0)
    for a in range(last - 1, 0, -1):
        if not matrix[a][last]:
            channels[a] = max(channels[b] for b in range(a + 1, last) if matrix[a][b])
    return channels


def _network(cell: Any, num_classes: int, channels: int, stacks: int, cells: int) -> nn.Sequential:
    layers: list[nn.Module] = [build("conv_bn_relu_3x3", Slot(3, channels))]
    inside = channels
    for stack in range(stacks):
        outside = channels * 2**stack
        if stack:
            layers.append(nn.MaxPool2d(2))
        for _ in range(cells):
            layers.append(cell(inside, outside))
            inside = outside
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, num_classes))


def from_cell(
    matrix: Matrix, ops: Sequence[str], num_classes: int = 10, channels: int = 128, stacks: int = 3, cells: int = 3
) -> nn.Module:
    """The published network of a cell.

    Args:
        matrix: which vertex (row) leads to which later one (column), 0 or 1.
        ops: of the vertices between the first and the last, from `OPS`.
        num_classes: classes.
        channels: of the stem and the first stack; doubled in the next ones.
        stacks: between them the picture is halved.
        cells: of each stack.

    Raises:
        SpaceError: if it is no cell: no square matrix above the diagonal, or vertices that lead nowhere.

    Example:
        >>> net = mn.spaces.nasbench101.from_cell([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["conv3x3-bn-relu"], channels=8)
        >>> net(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    matrix, ops = _pruned(matrix, ops)
    return _network(
        lambda inside, outside: PlainCell(matrix, ops, inside, outside), num_classes, channels, stacks, cells
    )


def _pruned(matrix: Matrix, ops: Sequence[str]) -> tuple[list[list[int]], list[str]]:
    """The cell without vertices that are on no way from the input to the output."""
    n = len(matrix)
    if n < 2 or len(ops) != n - 2 or any(len(row) != n or any(row[: i + 1]) for i, row in enumerate(matrix)):
        raise SpaceError(
            f"a cell is given a matrix of {n} rows and {len(ops)} ops; expected an upper triangle, n - 2 ops"
        )
    after, before = {0}, {n - 1}
    for a in range(n):
        if a in after:
            after |= {b for b in range(n) if matrix[a][b]}
    for b in range(n - 1, -1, -1):
        if b in before:
            before |= {a for a in range(n) if matrix[a][b]}
    kept = sorted(after & before)
    if not {0, n - 1} <= set(kept):
        raise SpaceError("the cell's input leads nowhere; expected a way to its output")
    return [[matrix[a][b] for b in kept] for a in kept], [ops[a - 1] for a in kept[1:-1]]


@register("nasbench101")
def create(num_classes: int = 10, image_size: int = 32, channels: int = 128, stacks: int = 3, cells: int = 3) -> Parts:
    """The supernet; settings as in `from_cell`, and the pictures' size in pixels."""
    model = _network(SharedCell, num_classes, channels, stacks, cells)

    def edge(path: str, _: nn.Module) -> bool:
        return ".edges." in path

    def name(path: str, _: nn.Module) -> str:
        place = path.rpartition(".")[2]
        return f"edge_{place}" if ".edges." in path else f"op_{int(place) + 1}"

    opened = [
        rules.slots(["none", connection], where=edge).named(name),
        rules.slots(OPS, where=lambda path, _: ".ops." in path).named(name),
    ]
    return model, opened, torch.randn(1, 3, image_size, image_size)


def connection(slot: Slot) -> nn.Module:
    """An edge: from the cell's input a projection, else the vertex as it is."""
    from_input = slot.in_channels != slot.out_channels
    return _conv(slot.in_channels, slot.out_channels) if from_input else nn.Identity()


def to_benchmark(point: Mapping[str, Any]) -> dict[str, Any]:
    """A point of the supernet as one of `mn.benchmarks.NASBench101`, where edges are 0 or 1."""
    return {name: int(value == "connection") if name.startswith("edge") else value for name, value in point.items()}


def to_cell(point: Mapping[str, Any]) -> tuple[list[list[int]], list[str]]:
    """A point of the supernet or of the benchmark as a matrix and ops, for `from_cell`.

    Example:
        >>> supernet, _ = mn.spaces.create("nasbench101", channels=4, cells=1)
        >>> matrix, ops = mn.spaces.nasbench101.to_cell(supernet.space.sample(seed=0))
        >>> len(matrix), len(ops)
        (7, 5)
    """
    n = N_VERTICES
    matrix = [[int(b > a and point[f"edge_{a}_{b}"] in (1, "connection")) for b in range(n)] for a in range(n)]
    return matrix, [str(point[f"op_{a}"]) for a in range(1, n - 1)]
