"""Zero-cost proxies: a guess at how good a network is, from one batch and no training.

One proxy is one file: a function of a `Probe`, registered by name; copy `snip.py`. `ZeroCost` is the evaluator,
`measure` asks about one network, `Ensemble` lets several vote. None of them is trusted: `mn.evaluate.rank_report`
says how far they rank.
"""

from modularnas.evaluate.zero_cost import (  # noqa: F401  each registers its proxies
    epe_nas,
    fisher,
    grad_norm,
    grasp,
    jacob_cov,
    l2_norm,
    linear_regions,
    macs,
    meco,
    naswot,
    ntk,
    params,
    plain,
    snip,
    swap,
    synflow,
    zen,
    zico,
)
from modularnas.evaluate.zero_cost.ensemble import Ensemble
from modularnas.evaluate.zero_cost.evaluator import ZeroCost
from modularnas.evaluate.zero_cost.proxy import Probe, describe, measure, names, register

__all__ = ["Ensemble", "Probe", "ZeroCost", "describe", "measure", "names", "register"]
