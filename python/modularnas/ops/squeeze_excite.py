"""Squeeze and excitation: `se_r16`, channels weighed by what the whole picture shows.

The average over all positions goes through two 1 x 1 convolutions with a narrow middle and a sigmoid; the result
multiplies the channels (Hu, Shen and Sun 2017, arXiv 1709.01507, equations 2 to 4). `r` is the reduction, 16 in the
paper. Convolutions stand for the paper's linear layers, as in MobileNetV3's and torchvision's code: the same numbers.
Where the size or the number of channels changes, the identity's projection comes first.

The blocks of `mbconv` and `resnet` use the same module with the widths and activations of their papers.
"""

from __future__ import annotations

from torch import Tensor, nn

from modularnas.ops import dims
from modularnas.ops.identity import fit
from modularnas.ops.registry import SPATIAL, register
from modularnas.ops.slot import Slot

__all__ = ["SqueezeExcite", "squeeze_excite"]


class SqueezeExcite(nn.Module):
    """Multiplies the channels by weights that depend on the whole input: `(N, C, …)` to `(N, C, …)`.

    Args:
        gate: the module that makes `(N, C, 1, …)` of the input.

    Example:
        >>> from modularnas.ops.squeeze_excite import SqueezeExcite
        >>> SqueezeExcite(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Sigmoid()))(torch.ones(1, 1, 1, 2))
        tensor([[[[0.7311, 0.7311]]]])
    """

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        out: Tensor = x * self.gate(x)
        return out


def squeeze_excite(
    slot: Slot,
    channels: int,
    middle: int,
    activation: type[nn.Module] = nn.ReLU,
    gate: type[nn.Module] = nn.Sigmoid,
) -> SqueezeExcite:
    """Squeeze and excitation of `channels`, `middle` wide inside."""
    return SqueezeExcite(
        nn.Sequential(
            dims.adaptive_avg_pool(slot),
            dims.conv(slot, channels, middle, 1),
            activation(),
            dims.conv(slot, middle, channels, 1),
            gate(),
        )
    )


@register("se_r{reduction}", names=["se_r4", "se_r16"], inputs=SPATIAL)
def se(slot: Slot, reduction: int) -> nn.Module:
    """Squeeze and excitation, the channels reduced by {reduction} inside."""
    return fit(slot, squeeze_excite(slot, slot.out_channels, max(1, slot.out_channels // reduction)))
