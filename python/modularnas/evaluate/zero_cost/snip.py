"""How much the loss feels the removal of each weight: the sum of |weight times gradient|.

Lee, Ajanthan and Torr 2019, "SNIP: Single-shot Network Pruning based on Connection Sensitivity" (arXiv 1810.02340),
section 4.1: the connection sensitivity before it is normalised, summed over the network as in Abdelfattah et al. 2021
(arXiv 2101.08134), equation 1: the gradient with respect to a mask of ones is weight times gradient.
"""

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["snip"]


@register("snip")
def snip(probe: Probe) -> float:
    """Sum of |weight times gradient|."""
    return sum((weight * gradient).abs().sum().item() for weight, gradient in probe.gradients())
