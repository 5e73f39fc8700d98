"""The size of the weights: sum over weights of their Euclidean norm.

A data-free baseline of Abdelfattah et al. 2021 (arXiv 2101.08134); at initialisation it is a count of weights, layer
by layer.
"""

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["l2_norm"]


@register("l2_norm")
def l2_norm(probe: Probe) -> float:
    """Sum over weights of their norm."""
    return sum(float(weight.detach().norm()) for weight in probe.weights())
