"""What runs in a supernet in the place of the user's modules.

`mixed`: a choice of ops; `elastic`: sliced weights; `attention`: torch's attention with some of its heads; `skippable`:
a block that may be left out.
The room knows torch alone. A module here has one attribute that says which choice is active and changes nothing else
in the network around it.
"""

from modularnas.nn.attention import FewerHeads
from modularnas.nn.elastic import Cut, Diagonal, Elastic, Setting, elastic, kernel_setting, restore
from modularnas.nn.mixed import MixedOp
from modularnas.nn.skippable import Skippable

__all__ = [
    "Cut",
    "Diagonal",
    "Elastic",
    "FewerHeads",
    "MixedOp",
    "Setting",
    "Skippable",
    "elastic",
    "kernel_setting",
    "restore",
]
