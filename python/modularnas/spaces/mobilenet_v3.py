"""`mobilenet_v3`: kernel, expansion and depth of MobileNetV3 as in Once-for-All (Cai et al. 2020, arXiv 1908.09791).

Five stages of two to four inverted residuals (Howard et al. 2019, MobileNetV3, arXiv 1905.02244), each with kernel 3, 5
or 7 and expansion 3, 4 or 6: (9² + 9³ + 9⁴)⁵ = 2.2e19 networks, the paper's "> 10^19" (section 3.2). All share the
weights of the largest: a kernel is the centre of a larger one, a narrower block has the first channels, a shallower
stage the first blocks. The paper learns a map from each kernel to the next smaller one and sorts channels by
importance before they shrink; here kernels are plain centres, and sorting is a step of training.

The squeeze and excitation of a narrower block keeps the width of the widest inside of its gate (the authors' code
narrows it too); `from_config` is the network as their code makes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modularnas.ops import Slot
from modularnas.ops.squeeze_excite import squeeze_excite
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["DEPTHS", "EXPANSIONS", "KERNEL_SIZES", "InvertedResidual", "create", "from_config"]

KERNEL_SIZES = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
DEPTHS = (2, 3, 4)
#: Channels, stride, squeeze and excitation, and activation of each stage.
STAGES: tuple[tuple[int, int, bool, type[nn.Module]], ...] = (
    (24, 2, False, nn.ReLU),
    (40, 2, True, nn.ReLU),
    (80, 2, False, nn.Hardswish),
    (112, 1, True, nn.Hardswish),
    (160, 2, True, nn.Hardswish),
)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, excite, project: `(N, in, H, W)` to `(N, out, H / stride, W / stride)`."""

    def __init__(self, slot: Slot, kernel_size: int, expansion: int, excite: bool, activation: type[nn.Module]) -> None:
        super().__init__()
        inside, outside = slot.in_channels, slot.out_channels
        middle = inside * expansion
        stride, padding = int(slot.strides[0]), kernel_size // 2
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(inside, middle, 1, bias=False), nn.BatchNorm2d(middle), activation()]
        depthwise = nn.Conv2d(middle, middle, kernel_size, stride=stride, padding=padding, groups=middle, bias=False)
        layers += [depthwise, nn.BatchNorm2d(middle), activation()]
        if excite:
            layers.append(squeeze_excite(slot, middle, _eights(middle // 4), nn.ReLU, nn.Hardsigmoid))
        layers += [nn.Conv2d(middle, outside, 1, bias=False), nn.BatchNorm2d(outside)]
        self.layers = nn.Sequential(*layers)
        self.adds = slot.keeps_shape

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        out: Tensor = self.layers(x)
        return x + out if self.adds else out


def from_config(
    kernel_sizes: Sequence[int],
    expansions: Sequence[int],
    depths: Sequence[int],
    num_classes: int = 1000,
    image_size: int = 224,
    width: float = 1.0,
) -> nn.Sequential:
    """The network of a kernel and an expansion for each of four blocks of five stages, and the blocks that stay.

    Args:
        kernel_sizes: 20 of them; those of blocks that do not stay are ignored.
        expansions: 20, likewise.
        depths: of the five stages.
        num_classes: classes.
        image_size: height and width of the pictures, in pixels; up to 64 the first two halvings are left out.
        width: what all channels are multiplied by.

    Example:
        >>> net = mn.spaces.mobilenet_v3.from_config([3] * 20, [3] * 20, [2] * 5, num_classes=10, image_size=32)
        >>> net(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    small = image_size <= 64
    channels, last, head = (_eights(width * n) for n in (16, 960, 1280))
    stem = nn.Conv2d(3, channels, 3, stride=1 if small else 2, padding=1, bias=False)
    first = InvertedResidual(Slot(channels, channels), 3, 1, False, nn.ReLU)
    front = nn.Sequential(stem, nn.BatchNorm2d(channels), nn.Hardswish(), first)
    stages = []
    for i, ((given, stride, excite, activation), depth) in enumerate(zip(STAGES, depths, strict=True)):
        outside, blocks = _eights(width * given), []
        for j in range(depth):
            slot = Slot(channels, outside, 1 if j or (small and i == 0) else stride)
            at = 4 * i + j
            blocks.append(InvertedResidual(slot, kernel_sizes[at], expansions[at], excite, activation))
            channels = outside
        stages.append(nn.Sequential(*blocks))
    return nn.Sequential(
        front,
        nn.Sequential(*stages),
        nn.Sequential(nn.Conv2d(channels, last, 1, bias=False), nn.BatchNorm2d(last), nn.Hardswish()),
        nn.AdaptiveAvgPool2d(1),
        nn.Sequential(nn.Conv2d(last, head, 1, bias=False), nn.Hardswish(), nn.Flatten()),
        nn.Dropout(0.1),
        nn.Linear(head, num_classes),
    )


def _eights(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and nine tenths of the channels, as in MobileNet's code."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


@register("mobilenet_v3")
def create(num_classes: int = 1000, image_size: int = 224, width: float = 1.0) -> Parts:
    """The largest network, elastic in kernels, expansions and depths; all channels are multiplied by `width`."""
    largest = ([KERNEL_SIZES[-1]] * 20, [EXPANSIONS[-1]] * 20, [DEPTHS[-1]] * 5)
    model = from_config(*largest, num_classes, image_size, width)
    opened = [
        rules.kernel_size(*KERNEL_SIZES, where="1.*"),
        rules.expansion(*EXPANSIONS, where="1.*"),
        rules.depth(min=DEPTHS[0], where="1.*"),
    ]
    return model, opened, torch.randn(1, 3, image_size, image_size)
