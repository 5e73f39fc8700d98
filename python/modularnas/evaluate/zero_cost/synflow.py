"""Synaptic flow: how much of a flow from inputs to outputs goes through each weight, without data and labels.

Tanaka et al. 2020, "Pruning neural networks without any data by iteratively conserving synaptic flow" (arXiv
2006.05467), algorithm 1: with all weights made positive, an input of ones and R the sum of the outputs, the sum over
weights of dR/dw times w. As in Abdelfattah et al. 2021 (arXiv 2101.08134), section 3.2, for scoring whole networks:
batch norms are left out and the sums are in float64, because a flow through many layers is beyond float32.

Deviation: the number is the logarithm to base 10, because the flow of a deep network is beyond what a study should
compare; ranks are the same. A network through which nothing flows has -30, the value of tables of NAS-Bench-201.
"""

import math

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["synflow"]


@register("synflow")
def synflow(probe: Probe) -> float:
    """Logarithm to base 10 of the flow through all weights."""
    net = probe.net.double()
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.forward = lambda x: x  # type: ignore[method-assign,assignment]
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor.abs_()
    ones = torch.ones_like(probe.x[:1], dtype=torch.float64)
    output = net(ones)
    weights = probe.weights()
    gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True, materialize_grads=True)
    flow = sum((weight * gradient).abs().sum().item() for weight, gradient in zip(weights, gradients, strict=True))
    return math.log10(flow + 1e-30)
