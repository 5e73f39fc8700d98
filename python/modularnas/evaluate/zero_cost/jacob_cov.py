"""How differently the network answers to different inputs: the spectrum of correlations between rows of the Jacobian.

Mellor et al. 2020, "Neural Architecture Search without Training" in its first version (arXiv 2006.04647v1), section
3: with v_i the eigenvalues of the correlation matrix of the Jacobian's rows and k = 1e-5, the score is -sum(log(v_i +
k) + 1 / (v_i + k)). The name is that of Abdelfattah et al. 2021.
"""

import torch

from modularnas.evaluate.zero_cost.jacobian import correlations, jacobian
from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["jacob_cov"]


@register("jacob_cov")
def jacob_cov(probe: Probe) -> float:
    """Spectrum of the correlations between the inputs' gradients; needs no targets."""
    values = torch.linalg.eigvalsh(correlations(jacobian(probe))).clamp(min=0) + 1e-5
    return -float((values.log() + 1 / values).sum())
