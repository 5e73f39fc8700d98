"""`nasbench_macro`: NAS-Bench-Macro's chains (Su et al. 2021, Prioritized Architecture Sampling, arXiv 2103.11922).

Eight layers, each an identity or an inverted residual (kernel 3, expansion 3; or kernel 5, expansion 6), between a
stem and a 1 x 1 convolution: 3⁸ networks. The first layer of each stage of 64, 128 and 256 channels halves the
picture; there the identity is a strided 1 x 1 convolution. Decisions have the names of `mn.benchmarks.NASBenchMacro`,
so that its published accuracies can be asked for the points; all 6,561 published parameter and multiply-add counts
are those of these networks.
"""

from __future__ import annotations

import torch
from torch import nn

from modularnas.ops import Slot, build
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["create"]

#: Output channels and stride of each layer.
LAYERS = ((64, 2), (64, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1), (256, 1))


def identity(slot: Slot) -> nn.Module:
    """Nothing, or what changes the shape."""
    if slot.keeps_shape:
        return nn.Identity()
    projection = nn.Conv2d(slot.in_channels, slot.out_channels, 1, stride=slot.strides[0], bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(slot.out_channels))


def mb3_k3(slot: Slot) -> nn.Module:
    """Inverted residual, kernel 3, expansion 3."""
    return build("mbconv_k3_e3", slot)


def mb6_k5(slot: Slot) -> nn.Module:
    """Inverted residual, kernel 5, expansion 6."""
    return build("mbconv_k5_e6", slot)


@register("nasbench_macro")
def create(num_classes: int = 10, image_size: int = 32) -> Parts:
    """The chain; settings as in `mn.spaces.create`."""
    channels = 32
    layers: list[nn.Module] = []
    for outside, stride in LAYERS:
        layers.append(Slot(channels, outside, stride))
        channels = outside
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()),
        nn.Sequential(*layers),
        nn.Sequential(nn.Conv2d(channels, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1280, num_classes),
    )
    opened = rules.slots([identity, mb3_k3, mb6_k5]).named(lambda path, _: f"layer_{path.rpartition('.')[2]}")
    return model, [opened], torch.randn(1, 3, image_size, image_size)
