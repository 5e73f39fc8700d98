"""Inverted residuals: `mbconv_k3_e6`, `mbv3_k5_e3_se_hswish`, `fused_mbconv_k3_e4`; any kernel k and expansion e.

Pointwise convolution to e times the channels (left out for e = 1), depthwise k x k, pointwise back without activation,
each with a batch norm; the input is added where the shape stays.

- `mbconv` is MobileNetV2's (Sandler et al. 2018, arXiv 1801.04381, table 1), activation ReLU6 unless named; with `_se`
  the squeeze and excitation of MnasNet and EfficientNet (Tan and Le 2019, arXiv 1905.11946): a quarter of the block's
  input channels wide, the block's activation, a sigmoid. `mbconv_k3_e6_se_silu` is EfficientNet's block.
- `mbv3` is MobileNetV3's (Howard et al. 2019, arXiv 1905.02244, figure 4): ReLU or hard swish; its squeeze and
  excitation is a quarter of the expanded channels wide, rounded to eights, with ReLU and a hard sigmoid.
- `fused_mbconv` is EfficientNetV2's (Tan and Le 2021, arXiv 2104.00298, figure 2): one k x k convolution in the place
  of the first two.

Kernels 3, 5, 7 and expansions 3, 6 are the choices of ProxylessNAS (Cai, Zhu and Han 2018, arXiv 1812.00332). Without
the stochastic depth of EfficientNet's training: that is no op.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from modularnas.ops import dims
from modularnas.ops.activation import ACTIVATIONS
from modularnas.ops.registry import SPATIAL, register
from modularnas.ops.residual import Residual
from modularnas.ops.slot import Slot
from modularnas.ops.squeeze_excite import squeeze_excite

__all__: list[str] = []


def _conv_norm(
    slot: Slot, inside: int, outside: int, k: int, activation: type[nn.Module] | None, **settings: Any
) -> list[nn.Module]:
    layers = [dims.conv(slot, inside, outside, k, bias=False, **settings), dims.batch_norm(slot, outside)]
    return layers if activation is None else [*layers, activation()]


def _inverted_residual(
    slot: Slot, k: int, e: int, activation: type[nn.Module], excite: nn.Module | None = None
) -> nn.Module:
    middle = slot.in_channels * e
    layers = _conv_norm(slot, slot.in_channels, middle, 1, activation) if e > 1 else []
    layers += _conv_norm(slot, middle, middle, k, activation, stride=slot.stride, groups=middle)
    if excite is not None:
        layers.append(excite)
    layers += _conv_norm(slot, middle, slot.out_channels, 1, None)
    return _with_shortcut(slot, layers)


def _with_shortcut(slot: Slot, layers: list[nn.Module]) -> nn.Module:
    branch = nn.Sequential(*layers)
    return Residual(branch) if slot.keeps_shape else branch


@register(
    "mbconv_k{k}_e{e}[_se][_{act:relu|relu6|silu|swish|hswish|gelu}]",
    names=[
        *(f"mbconv_k{k}_e{e}" for k in (3, 5, 7) for e in (3, 6)),
        *("mbconv_k3_e1", "mbconv_k3_e6_se", "mbconv_k3_e6_silu", "mbconv_k5_e6_se_silu"),
    ],
    inputs=SPATIAL,
)
def mbconv(slot: Slot, k: int, e: int, se: bool = False, act: str = "relu6") -> nn.Module:
    """MobileNetV2 block, kernel {k}, expansion {e}, {act}."""
    activation = ACTIVATIONS["silu" if act == "swish" else act]
    excite = None
    if se:
        excite = squeeze_excite(slot, slot.in_channels * e, max(1, slot.in_channels // 4), activation)
    return _inverted_residual(slot, k, e, activation, excite)


@register(
    "mbv3_k{k}_e{e}[_se][_hswish]", names=["mbv3_k3_e3", "mbv3_k3_e6_hswish", "mbv3_k5_e6_se_hswish"], inputs=SPATIAL
)
def mbv3(slot: Slot, k: int, e: int, se: bool = False, hswish: bool = False) -> nn.Module:
    """MobileNetV3 block, kernel {k}, expansion {e}."""
    middle = slot.in_channels * e
    excite = squeeze_excite(slot, middle, _eights(middle // 4), nn.ReLU, nn.Hardsigmoid) if se else None
    return _inverted_residual(slot, k, e, nn.Hardswish if hswish else nn.ReLU, excite)


def _eights(channels: int) -> int:
    """The nearest multiple of 8, at least 8 and nine tenths of the channels, as in MobileNet's code."""
    near = max(8, (channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


@register(
    "fused_mbconv_k{k}_e{e}[_{act:relu|relu6|silu|swish|hswish|gelu}]",
    names=["fused_mbconv_k3_e1", "fused_mbconv_k3_e4"],
    inputs=SPATIAL,
)
def fused_mbconv(slot: Slot, k: int, e: int, act: str = "silu") -> nn.Module:
    """EfficientNetV2 block with one convolution to expand, kernel {k}, expansion {e}, {act}."""
    activation = ACTIVATIONS["silu" if act == "swish" else act]
    if e == 1:
        return _with_shortcut(
            slot, _conv_norm(slot, slot.in_channels, slot.out_channels, k, activation, stride=slot.stride)
        )
    middle = slot.in_channels * e
    layers = _conv_norm(slot, slot.in_channels, middle, k, activation, stride=slot.stride)
    return _with_shortcut(slot, [*layers, *_conv_norm(slot, middle, slot.out_channels, 1, None)])
