"""Multiply-accumulates of one input: half of what `torch.utils.flop_counter` counts, over the batch size.

With `params`, the proxy that every other one has to beat (Ning et al. 2021, "Evaluating Efficient Performance
Estimators of Neural Architectures", arXiv 2008.03064).
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["macs"]


@register("macs")
def macs(probe: Probe) -> float:
    """Multiply-accumulates of one input."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        probe.net(probe.x)
    return float(counter.get_total_flops()) / 2 / len(probe.x)
