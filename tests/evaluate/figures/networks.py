"""The networks of two benchmarks, as their papers describe them, in plain torch."""

import torch
from torch import nn
from torch.nn import functional as F

#: Edges of a cell in the order of a NAS-Bench-201 row.
EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


def relu_conv_bn(n_in, n_out, kernel, stride=1):
    conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(n_out))


OPS = {
    "skip_connect": lambda c: nn.Identity(),
    "nor_conv_1x1": lambda c: relu_conv_bn(c, c, 1),
    "nor_conv_3x3": lambda c: relu_conv_bn(c, c, 3),
    "avg_pool_3x3": lambda c: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
}


class Cell201(nn.Module):
    """Four nodes, an operation on each of six edges (Dong and Yang 2020, arXiv 2001.00326, figure 1)."""

    def __init__(self, channels, ops):
        super().__init__()
        edges = {f"{i}_{j}": OPS[op](channels) for (i, j), op in zip(EDGES, ops, strict=True) if op != "none"}
        self.edges = nn.ModuleDict(edges)

    def forward(self, x):
        nodes = [x]
        for j in (1, 2, 3):
            arriving = [self.edges[f"{i}_{j}"](nodes[i]) for i in range(j) if f"{i}_{j}" in self.edges]
            nodes.append(sum(arriving) if arriving else torch.zeros_like(x))
        return nodes[3]


class Reduction201(nn.Module):
    """The residual block between stages."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.first, self.second = relu_conv_bn(n_in, n_out, 3, 2), relu_conv_bn(n_out, n_out, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(n_in, n_out, 1, bias=False))

    def forward(self, x):
        return self.shortcut(x) + self.second(self.first(x))


def nasbench201(ops, channels=16, cells=5, n_classes=10):
    """The network of six operations: three stages of five cells at 16, 32 and 64 channels."""
    layers = [nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
    for stage in range(3):
        width = channels * 2**stage
        if stage:
            layers.append(Reduction201(width // 2, width))
        layers += [Cell201(width, ops) for _ in range(cells)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, n_classes)]
    return nn.Sequential(*layers)


class MBConv(nn.Module):
    """An inverted bottleneck: expansion, depthwise kernel, projection, shortcut where the shape stays."""

    def __init__(self, n_in, n_out, stride, expansion, kernel):
        super().__init__()
        wide = n_in * expansion
        self.body = nn.Sequential(
            nn.Conv2d(n_in, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut = stride == 1 and n_in == n_out

    def forward(self, x):
        return x + self.body(x) if self.shortcut else self.body(x)


def resize(n_in, n_out, stride):
    """The "identity" of NAS-Bench-Macro: a 1x1 convolution with batch norm where the shape changes."""
    if stride == 1 and n_in == n_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))


#: (input channels, output channels, stride) of the eight layers of NAS-Bench-Macro.
MACRO = [(32, 64, 2), (64, 64, 1), (64, 128, 2), *[(128, 128, 1)] * 2, (128, 256, 2), *[(256, 256, 1)] * 2]
MACRO_OPS = {
    "identity": resize,
    "mb3_k3": lambda *shape: MBConv(*shape, 3, 3),
    "mb6_k5": lambda *shape: MBConv(*shape, 6, 5),
}


class Classifier(nn.Module):
    """Stem, layers and head of NAS-Bench-Macro around any eight layers (Su et al. 2021, arXiv 2103.11922, table 1)."""

    def __init__(self, layers, n_classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6())
        self.layers = nn.ModuleList(layers)
        self.head = nn.Sequential(nn.Conv2d(256, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6())
        self.classifier = nn.Linear(1280, n_classes)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.classifier(F.adaptive_avg_pool2d(self.head(x), 1).flatten(1))


def nasbench_macro(ops):
    return Classifier([MACRO_OPS[op](*shape) for op, shape in zip(ops, MACRO, strict=True)])
