"""Changes of a trained network that keep what it computes, and weights from one network to another.

The tensors are made by the native half (`src/transform/state/`); here they are put into modules. Every morphism works
on a copy and is checked on the example before it is given back. One morphism is one file (copy `widen.py`).
"""

from modularnas.transform.state.average import average
from modularnas.transform.state.deepen import deepen
from modularnas.transform.state.inherit import Match, inherit
from modularnas.transform.state.morphisms import Morphisms
from modularnas.transform.state.reinitialise import reinitialise
from modularnas.transform.state.skip import insert_skip, remove_skip
from modularnas.transform.state.sort import sort_channels
from modularnas.transform.state.widen import widen

__all__ = [
    "Match",
    "Morphisms",
    "average",
    "deepen",
    "inherit",
    "insert_skip",
    "reinitialise",
    "remove_skip",
    "sort_channels",
    "widen",
]
