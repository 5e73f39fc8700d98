"""Expressivity: how far the features move with the input, with what batch norms take away put back.

Lin et al. 2021, "Zen-NAS: A Zero-Shot NAS for High-Performance Deep Image Recognition" (arXiv 2102.01563), algorithm
1: all weights N(0, 1), x and e Gaussian noise, the score is log E|f(x) - f(x + alpha e)| + sum over batch norms of
log sqrt(mean of their variances), alpha = 0.01. f ends before global pooling and classifier: here at the last feature
map of more than one position that a module gives (else at the output). The mean is over the batch, whose inputs only
lend their shape.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["zen"]

_ALPHA = 0.01


@register("zen")
def zen(probe: Probe) -> float:
    """Log of how far the features move under noise, with the scales of batch norms; needs no data but its shape."""
    features: list[Tensor] = []
    variances: list[float] = []

    def keep(layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim > 2 and output[0, 0].numel() > 1:
            features[:] = [output]

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        dims = [d for d in range(inputs[0].ndim) if d != 1]
        variances.append(inputs[0].var(dims, unbiased=False).mean().item())

    with torch.no_grad():
        for module in probe.net.modules():
            if isinstance(module, _BatchNorm):
                module.register_forward_pre_hook(look)
                if module.weight is not None:
                    nn.init.ones_(module.weight)
                    nn.init.zeros_(module.bias)
            elif not list(module.children()):
                for name, parameter in module.named_parameters(recurse=False):
                    nn.init.zeros_(parameter) if name == "bias" else nn.init.normal_(parameter)
            module.register_forward_hook(keep)
        x = torch.randn_like(probe.x)
        before = probe.net(x)
        before, scale = (features.pop() if features else before), sum(0.5 * math.log(v + 1e-12) for v in variances)
        after = probe.net(x + _ALPHA * torch.randn_like(x))
        after = features.pop() if features else after
    moved = (before - after).abs().flatten(1).sum(1).mean().item()
    return math.log(moved + 1e-30) + scale
