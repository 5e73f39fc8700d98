"""Gradient-based search: the architecture parameters of a relaxed supernet learn by gradients; one method a file.

They are no ask-and-tell algorithms (`mn.search.names()` lists those): a step of theirs stands beside the step of the
weights in the user's loop.
"""

from modularnas.search.gradient.algorithm import GradientAlgorithm
from modularnas.search.gradient.collapse import CollapseGuard, dominant_eigenvalue
from modularnas.search.gradient.darts import DARTS
from modularnas.search.gradient.direct import DirectGradient
from modularnas.search.gradient.dr_nas import DrNAS
from modularnas.search.gradient.fair_darts import FairDARTS
from modularnas.search.gradient.gdas import GDAS
from modularnas.search.gradient.metric_loss import Add, MetricLoss, Mult, MultLog
from modularnas.search.gradient.p_darts import PDARTS
from modularnas.search.gradient.pc_darts import PCDARTS
from modularnas.search.gradient.proxyless import ProxylessNAS
from modularnas.search.gradient.proxyless_r import ProxylessR
from modularnas.search.gradient.sdarts import SDARTS
from modularnas.search.gradient.snas import SNAS
from modularnas.search.gradient.stac_nas import StacNAS

__all__ = [
    "DARTS",
    "GDAS",
    "PCDARTS",
    "PDARTS",
    "SDARTS",
    "SNAS",
    "Add",
    "CollapseGuard",
    "DirectGradient",
    "DrNAS",
    "FairDARTS",
    "GradientAlgorithm",
    "MetricLoss",
    "Mult",
    "MultLog",
    "ProxylessNAS",
    "ProxylessR",
    "StacNAS",
    "dominant_eigenvalue",
]
