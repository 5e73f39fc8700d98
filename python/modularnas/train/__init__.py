"""Training strategies (the paper's ω for supernets): which paths a step trains, and what they learn from.

A strategy comes into a training loop in three ways: `supernet.sampling(name)` leaves the user's loop as it is, and
every forward takes the next path; `strategy.step(supernet, loss_fn, batch)` fills the gradients of a whole step;
`callback` of `lightning` and `hugging_face` do it for those trainers. The optimizer, its schedule, mixed precision,
clipping and averaging stay the user's. The room knows a supernet by what it can do, and no transformation; one strategy
is one file (copy `single_path.py`). `fit` trains a plain network, for whoever has no loop of their own.
"""

from modularnas.train import hugging_face, lightning
from modularnas.train.alternating import Alternating
from modularnas.train.attentive import Attentive
from modularnas.train.distillation import soft_cross_entropy
from modularnas.train.fair import FairNAS
from modularnas.train.fit import Fit, fit, measure
from modularnas.train.population import Population
from modularnas.train.progressive import ProgressiveShrinking, ShrinkingStage, shrinking_stages
from modularnas.train.sandwich import Sandwich
from modularnas.train.single_path import SinglePath
from modularnas.train.strategy import Strategy
from modularnas.train.warm_up import WarmUp
from modularnas.train.weights_only import WeightsOnly

__all__ = [
    "STRATEGIES",
    "Alternating",
    "Attentive",
    "FairNAS",
    "Fit",
    "Population",
    "ProgressiveShrinking",
    "Sandwich",
    "ShrinkingStage",
    "SinglePath",
    "Strategy",
    "WarmUp",
    "WeightsOnly",
    "fit",
    "hugging_face",
    "lightning",
    "measure",
    "shrinking_stages",
    "soft_cross_entropy",
]

#: Those that `supernet.sampling` knows by name.
STRATEGIES: tuple[type[Strategy], ...] = (SinglePath, FairNAS, Sandwich, Attentive, ProgressiveShrinking, WeightsOnly)
