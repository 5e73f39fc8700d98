"""What runs in a supernet in the place of the user's modules.

`mixed`: a choice of ops; `elastic`: sliced weights; `skippable`: a block that may be left out; `chosen`: a list of
which some modules stay.
The room knows torch alone. A module here has one attribute that says which choice is active and changes nothing else
in the network around it.
"""

from modularnas.nn.chosen import Chosen
from modularnas.nn.elastic import Cut, Elastic, elastic, restore
from modularnas.nn.mixed import MixedOp
from modularnas.nn.skippable import Skippable

__all__ = ["Chosen", "Cut", "Elastic", "MixedOp", "Skippable", "elastic", "restore"]
