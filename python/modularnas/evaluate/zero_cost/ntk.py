"""How well a network trains: the condition number of its neural tangent kernel.

Chen, Gong and Wang 2021 (TE-NAS; arXiv 2102.11535), section 3.1.1: kappa = largest over smallest eigenvalue of J J',
where J has for every input the gradient of the summed outputs with respect to all weights (the paper's code; the
kernel of several outputs would have a row for each). Small is good, so the score is -log10(kappa), at most so many
inputs.
"""

import math

import torch

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["ntk"]

_MAX_INPUTS = 32


@register("ntk")
def ntk(probe: Probe) -> float:
    """Minus log10 of the condition number of the neural tangent kernel."""
    weights = probe.weights()
    outputs = probe.net(probe.x[:_MAX_INPUTS])
    rows = []
    for i in range(len(outputs)):
        found = torch.autograd.grad(
            outputs[i].sum(), weights, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat([gradient.flatten() for gradient in found]))
    jacobian = torch.stack(rows).double()
    values = torch.linalg.eigvalsh(jacobian @ jacobian.T)
    low, high = values[0].item(), values[-1].item()
    if high <= 0:
        return -math.inf
    # An eigenvalue below the rounding of the largest is not known: the kernel is singular as far as one can tell.
    return -math.log10(high / max(low, high * 1e-16))
