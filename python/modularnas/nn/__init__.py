"""What runs in a supernet in the place of the user's modules.

`mixed`: a choice of ops; `elastic`: sliced weights; `attention`: torch's with some of its heads; `skippable`: a block
that may be left out; `chosen`: a list of which some modules stay; `relax/`: how several choices are weighed at once;
`fuse`: weighted sums in fewer calls, `edge`: in one native operator, `merge`: the kernel of several convolutions,
`rows`: their convolution on small pictures; `masked`: all of it in one shape for all points; `private_norm`: statistics
for every choice; `skip`: a connection past a module.
The room knows torch alone. A module here has one attribute that says which choice is active and changes nothing else
in the network around it.
"""

from modularnas.nn.attention import FewerHeads
from modularnas.nn.chosen import Chosen
from modularnas.nn.elastic import Cut, Diagonal, Elastic, Setting, elastic, follow, restore
from modularnas.nn.masked import MaskedMixedOp, MaskedNorm, MaskedSkippable
from modularnas.nn.mixed import MixedOp, Paths
from modularnas.nn.private_norm import privatise, publish, select
from modularnas.nn.relax import RELAXATIONS, Relaxation
from modularnas.nn.skip import Skip
from modularnas.nn.skippable import Skippable

__all__ = [
    "RELAXATIONS",
    "Chosen",
    "Cut",
    "Diagonal",
    "Elastic",
    "FewerHeads",
    "MaskedMixedOp",
    "MaskedNorm",
    "MaskedSkippable",
    "MixedOp",
    "Paths",
    "Relaxation",
    "Setting",
    "Skip",
    "Skippable",
    "elastic",
    "follow",
    "privatise",
    "publish",
    "restore",
    "select",
]
