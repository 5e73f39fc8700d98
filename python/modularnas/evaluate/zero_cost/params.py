"""The number of parameters: the proxy that every other one has to beat.

Abdelfattah et al. 2021, "Zero-Cost Proxies for Lightweight NAS" (arXiv 2101.08134), and White et al. 2022, "A Deeper
Look at Zero-Cost Proxies for Lightweight NAS" (ICLR blog track), who found few proxies that beat it everywhere.
"""

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["params"]


@register("params")
def params(probe: Probe) -> float:
    """The number of parameters, each counted once."""
    return sum(parameter.numel() for parameter in probe.net.parameters())
