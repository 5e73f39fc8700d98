"""First-order saliency with its sign: the sum of weight times gradient.

Mozer and Smolensky 1988, "Skeletonization"; as a proxy in Abdelfattah et al. 2021 (arXiv 2101.08134), in its code.
"""

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["plain"]


@register("plain")
def plain(probe: Probe) -> float:
    """Sum of weight times gradient."""
    return sum((weight * gradient).sum().item() for weight, gradient in probe.gradients())
