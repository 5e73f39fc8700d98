"""How many linear pieces a network tells apart: the determinant of the kernel of its binary activation codes.

Mellor et al. 2021, "Neural Architecture Search without Training" (ICML; arXiv 2006.04647), equation 2: K_ij is the
number of activations that agree on inputs i and j (N_A less their Hamming distance), the score is log |det K|.
"""

import torch

from modularnas.evaluate.zero_cost.activations import codes
from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["naswot"]


@register("naswot")
def naswot(probe: Probe) -> float:
    """Log determinant of the agreement of activation codes; -inf if two inputs have the same code."""
    kernel = torch.zeros(len(probe.x), len(probe.x), dtype=torch.float64, device=probe.x.device)
    for row in codes(probe, probe.x):
        signs = row.float().mul_(2).sub_(1)  # their product counts agreements less disagreements
        kernel += (row.shape[1] + (signs @ signs.T).double()) / 2
    return float(torch.linalg.slogdet(kernel).logabsdet)
