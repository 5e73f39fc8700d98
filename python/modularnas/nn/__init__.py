"""What runs in a supernet in the place of the user's modules.

`mixed`: a choice of ops; `elastic`: sliced weights; `skippable`: a block that may be left out; `masked`: the three in
one shape for all points; `private_norm`: statistics for every choice; `skip`: a connection past a module.
The room knows torch alone. A module here has one attribute that says which choice is active and changes nothing else
in the network around it.
"""

from modularnas.nn.elastic import Cut, Elastic, elastic, follow, restore
from modularnas.nn.masked import MaskedMixedOp, MaskedNorm, MaskedSkippable
from modularnas.nn.mixed import MixedOp
from modularnas.nn.private_norm import privatise, publish, select
from modularnas.nn.skip import Skip
from modularnas.nn.skippable import Skippable

__all__ = [
    "Cut",
    "Elastic",
    "MaskedMixedOp",
    "MaskedNorm",
    "MaskedSkippable",
    "MixedOp",
    "Skip",
    "Skippable",
    "elastic",
    "follow",
    "privatise",
    "publish",
    "restore",
    "select",
]
