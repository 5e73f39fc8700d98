"""How many linear pieces a network tells apart: the determinant of the kernel of its binary activation codes.

Mellor et al. 2021, "Neural Architecture Search without Training" (ICML; arXiv 2006.04647), equation 2: K_ij is the number of
activations that agree on inputs i and j (N_A less their Hamming distance), the score is log |det K|.
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
        kernel += (row @ row.T).double() + ((1 - row) @ (1 - row).T).double()
    return torch.linalg.slogdet(kernel).logabsdet.item()
