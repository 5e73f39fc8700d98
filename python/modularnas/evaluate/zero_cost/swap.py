"""How many different answers units give over the inputs: the number of sample-wise activation patterns.

Peng et al. 2024, "SWAP-NAS: Sample-Wise Activation Patterns for Ultra-fast NAS" (arXiv 2403.04161), section 3: the
pattern of a unit is its on or off over the N inputs; the score is the number of different patterns. Not the
regularised one, whose two constants belong to a space.
"""

import torch

from modularnas.evaluate.zero_cost.activations import codes
from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["swap"]

_BITS = 48  # whole numbers below 2**53 are exact in float64


@register("swap")
def swap(probe: Probe) -> float:
    """The number of different activation patterns of units over the inputs."""
    found = torch.empty(0, (len(probe.x) + _BITS - 1) // _BITS, dtype=torch.float64, device=probe.x.device)
    powers = 2.0 ** torch.arange(_BITS, dtype=torch.float64, device=probe.x.device)
    for row in codes(probe, probe.x):
        words = [part.double().T @ powers[: len(part)] for part in row.split(_BITS)]
        found = torch.cat([found, torch.stack(words, 1).unique(dim=0)]).unique(dim=0)
    return float(len(found))
