"""The size of the gradients after one batch: sum over weights of the Euclidean norm of the loss's gradient.

Abdelfattah et al. 2021, "Zero-Cost Proxies for Lightweight NAS" (arXiv 2101.08134), section 3.2.
"""

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["grad_norm"]


@register("grad_norm")
def grad_norm(probe: Probe) -> float:
    """Sum over weights of the norm of their gradient."""
    return sum(float(gradient.norm()) for _, gradient in probe.gradients())
