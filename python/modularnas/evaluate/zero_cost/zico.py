"""How steady gradients are over batches: large and alike is good.

Li et al. 2023, "ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients" (arXiv 2301.11300), the
definition of ZiCo: sum over layers of log(sum over weights of mean |g| / standard deviation of |g|), both over
batches. The batch is cut into two halves, the least that has a deviation (the paper's code takes two batches);
weights that never get a gradient count nothing.
"""

import math

import torch

from modularnas.errors import EvaluationError
from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["zico"]


@register("zico")
def zico(probe: Probe) -> float:
    """Log inverse coefficient of variation of gradients, over layers."""
    half = len(probe.x) // 2
    if half < 2:
        raise EvaluationError(f"zico cuts the batch into halves of two inputs or more; the batch has {len(probe.x)}")
    parts = [probe.gradients(slice(0, half)), probe.gradients(slice(half, 2 * half))]
    total = 0.0
    for (_, first), (_, second) in zip(*parts, strict=True):
        sizes = torch.stack([first, second]).double().abs()
        mean, deviation = sizes.mean(0), sizes.std(0, unbiased=False)
        steady = (mean / deviation)[deviation > 0].sum().item()
        total += math.log(steady) if steady > 0 else 0.0
    return total
