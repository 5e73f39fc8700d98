"""How much the flow of gradients feels the removal of each weight: the sum of -(H g) times weight.

Wang, Zhang and Grosse 2020, "Picking Winning Tickets Before Training by Preserving Gradient Flow" (arXiv 2002.07376),
equation 8, summed over the network as in Abdelfattah et al. 2021 (arXiv 2101.08134), equation 1. The product of
Hessian and gradient is the gradient of (gradient times the gradient held fixed); no temperature on the outputs, as in
the latter.
"""

from typing import Any

import torch

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["grasp"]


@register("grasp")
def grasp(probe: Probe) -> float:
    """Sum of -(Hessian times gradient) times weight."""
    weights = probe.weights()
    settings: Any = {"allow_unused": True, "materialize_grads": True}
    first = torch.autograd.grad(probe.batch_loss(), weights, create_graph=True, **settings)
    flow = torch.stack([(gradient * gradient.detach()).sum() for gradient in first]).sum()
    second = torch.autograd.grad(flow, weights, **settings)
    return -sum((weight * product).sum().item() for weight, product in zip(weights, second, strict=True))
