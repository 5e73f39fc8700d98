"""Activations, under torch's names: `relu`, `gelu`, `silu`, `hswish`, … each torch's own class with its defaults.

`hswish` and `hsigmoid` are those of MobileNetV3 (Howard et al. 2019, arXiv 1905.02244, section 5.2), `silu` is the
Swish of Ramachandran, Zoph and Le 2017 (arXiv 1710.05941) with beta 1. They work on any input; where the size or the
number of channels changes, the identity's projection comes first.
"""

from __future__ import annotations

from torch import nn

from modularnas.ops.identity import fit
from modularnas.ops.registry import FEATURES, SPATIAL, register
from modularnas.ops.slot import Slot

__all__ = ["ACTIVATIONS"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "celu": nn.CELU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "hardshrink": nn.Hardshrink,
    "hardtanh": nn.Hardtanh,
    "hsigmoid": nn.Hardsigmoid,
    "hswish": nn.Hardswish,
    "leaky_relu": nn.LeakyReLU,
    "logsigmoid": nn.LogSigmoid,
    "mish": nn.Mish,
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "rrelu": nn.RReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softshrink": nn.Softshrink,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "tanhshrink": nn.Tanhshrink,
}


def _register(name: str, activation: type[nn.Module]) -> None:
    def build(slot: Slot) -> nn.Module:
        return fit(slot, activation())

    build.__doc__ = f"Activation nn.{activation.__name__}."
    register(name, inputs=(*SPATIAL, *FEATURES))(build)


for _name, _activation in ACTIVATIONS.items():
    _register(_name, _activation)
