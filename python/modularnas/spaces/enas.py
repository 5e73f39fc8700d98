"""`enas`: the macro space of ENAS (Pham et al. 2018, arXiv 1802.03268, section 2.3).

Twelve layers, each one of six ops, that read the layer before; and to each any of the layers before that one may be
added: 6¹² · 2⁶⁶ = 1.6e29 networks. Pools after the fourth and the eighth layer halve everything made so far. As in
the authors' code skips are summed with the layer's output and normalised.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from modularnas.ops import Slot
from modularnas.ops.identity import FactorizedReduce
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["OPS", "create"]

OPS = ("conv_bn_relu_3x3", "conv_bn_relu_5x5", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")


class Layer(nn.Module):
    """An op on the last output, plus any of those before it: each `(N, C, H, W)`."""

    def __init__(self, channels: int, n_skips: int) -> None:
        super().__init__()
        self.op = Slot(channels, channels)
        self.skips = nn.ModuleList(Slot(channels, channels) for _ in range(n_skips))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, outputs: list[Tensor]) -> Tensor:
        """`outputs`: of the stem and the layers before."""
        total = self.op(outputs[-1])
        for i, skip in enumerate(self.skips):
            total = total + skip(outputs[i])
        out: Tensor = self.norm(total)
        return out


class Network(nn.Module):
    """Pictures `(N, 3, H, W)` to logits `(N, classes)`."""

    def __init__(self, channels: int, layers: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.layers = nn.ModuleList(Layer(channels, i) for i in range(layers))
        self.halved_after = [layers // 3 - 1, 2 * layers // 3 - 1]
        self.pools = nn.ModuleList(
            nn.ModuleList(FactorizedReduce(channels, channels) for _ in range(i + 2)) for i in self.halved_after
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(channels, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        outputs = [self.stem(x)]
        for i, layer in enumerate(self.layers):
            outputs.append(layer(outputs))
            if i in self.halved_after:
                pools: Any = self.pools[self.halved_after.index(i)]
                outputs = [pool(output) for pool, output in zip(pools, outputs, strict=True)]
        out: Tensor = self.head(outputs[-1])
        return out


@register("enas")
def create(num_classes: int = 10, image_size: int = 32, channels: int = 36, layers: int = 12) -> Parts:
    """The search network.

    Args:
        num_classes: classes.
        image_size: height and width of the pictures, in pixels; a multiple of 4.
        channels: of all layers.
        layers: 3 or more.
    """

    def skip(path: str, _: nn.Module) -> bool:
        return ".skips." in path

    def name(path: str, _: nn.Module) -> str:
        _list, layer, kind, *source = path.split(".")
        return f"layer_{layer}.{'op' if kind == 'op' else f'skip_{source[0]}'}"

    opened = [
        rules.slots(OPS, where="layers.*.op").named(name),
        rules.slots(["none", "skip_connect"], where=skip).named(name),
    ]
    return Network(channels, layers, num_classes), opened, torch.randn(1, 3, image_size, image_size)
