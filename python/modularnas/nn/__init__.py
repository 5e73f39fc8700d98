"""What runs in a supernet in the place of the user's modules.

`mixed`: a choice of ops; `elastic`: sliced weights; `skippable`: a block that may be left out; `chosen`: a list of
which some modules stay; `relax/`: how several choices are weighed at once.
The room knows torch alone. A module here has one attribute that says which choice is active and changes nothing else
in the network around it.
"""

from modularnas.nn.chosen import Chosen
from modularnas.nn.elastic import Cut, Elastic, elastic, restore
from modularnas.nn.mixed import MixedOp, Paths
from modularnas.nn.relax import RELAXATIONS, Relaxation
from modularnas.nn.skippable import Skippable

__all__ = [
    "RELAXATIONS",
    "Chosen",
    "Cut",
    "Elastic",
    "MixedOp",
    "Paths",
    "Relaxation",
    "Skippable",
    "elastic",
    "restore",
]
