"""Candidate ops: what a slot can become. One family is one file; copy `pool.py` for a new one and import it here.

The room knows torch and the slot; nothing of supernets, spaces or searches. An op is built from torch's own modules
wherever possible; a class of ours inside an op is turned into a plain `torch.fx.GraphModule` when a network is derived.
"""

from modularnas.ops import conv, identity, pool, separable  # noqa: F401  (they register their ops)
from modularnas.ops.registry import build, find, names, register
from modularnas.ops.slot import Slot

__all__ = ["Slot", "build", "find", "names", "register"]
