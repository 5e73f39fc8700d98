"""`nasbench201`: NAS-Bench-201's cells (Dong and Yang 2020, arXiv 2001.00326; the topology space of NATS-Bench).

A cell is a graph of four nodes, each the sum of an op on every node before it: six edges with five ops, 5⁶ cells. The
network (their figure 1) has three stages of N = 5 equal cells with 16, 32 and 64 channels, and a residual block that
halves the picture between them. All cells are alike, so a point is one cell. Decisions have the names of
`mn.benchmarks.NASBench201`, so that its published results can be asked for the points; parameter counts are the
published ones, and the published FLOPs are ours plus what they count for norms and pools.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modularnas.ops import Slot
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["OPS", "Cell", "ResidualBlock", "create", "skeleton"]

#: The candidate ops.
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
#: Edges from node to node, in the order of the published strings.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


class Cell(nn.Module):
    """Four nodes: `(N, C, H, W)` to the same shape."""

    def __init__(self, edges: Sequence[nn.Module]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edges)

    def forward(self, x: Tensor) -> Tensor:
        """The last node."""
        e01, e02, e12, e03, e13, e23 = self.edges
        node1 = e01(x)
        node2 = e02(x) + e12(node1)
        out: Tensor = e03(x) + e13(node1) + e23(node2)
        return out


class ResidualBlock(nn.Module):
    """Halves the picture and changes the channels: `(N, in, H, W)` to `(N, out, H / 2, W / 2)`."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *(nn.ReLU(), nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outside)),
            *(nn.ReLU(), nn.Conv2d(outside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside)),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inside, outside, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        out: Tensor = self.shortcut(x) + self.branch(x)
        return out


def skeleton(stages: Sequence[Sequence[nn.Module]], channels: Sequence[int], num_classes: int) -> nn.Sequential:
    """Stages of cells with residual blocks between them, after a stem of the first number of channels.

    `channels`: those that each stage gives; the residual blocks lead from one to the next.
    """
    layers: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(3, channels[0], 3, padding=1, bias=False), nn.BatchNorm2d(channels[0]))
    ]
    for i, stage in enumerate(stages):
        if i:
            layers.append(ResidualBlock(channels[i - 1], channels[i]))
        layers.append(nn.Sequential(*stage))
    last = [nn.BatchNorm2d(channels[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *last, nn.Linear(channels[-1], num_classes))


@register("nasbench201")
def create(num_classes: int = 10, image_size: int = 32, channels: int = 16, cells: int = 5) -> Parts:
    """The network.

    Args:
        num_classes: classes.
        image_size: height and width of the pictures, in pixels.
        channels: channels of the first stage; doubled in the next ones.
        cells: cells of a stage.
    """
    widths = [channels, 2 * channels, 4 * channels]
    stages = [[Cell([Slot(width, width) for _ in EDGES]) for _ in range(cells)] for width in widths]

    def edge(path: str, _: nn.Module) -> str:
        source, target = EDGES[int(path.rpartition(".")[2])]
        return f"edge_{source}_{target}"

    model = skeleton(stages, widths, num_classes)
    return model, [rules.slots(OPS).named(edge)], torch.randn(1, 3, image_size, image_size)
