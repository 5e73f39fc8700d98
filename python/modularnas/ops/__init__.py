"""Candidate ops: what a slot can become. One family is one file; copy `pool.py` for a new one and import it here.

The room knows torch and the slot; nothing of supernets, spaces or searches. An op is built from torch's own modules
wherever possible; a class of ours inside an op is turned into a plain `torch.fx.GraphModule` when a network is derived,
so its forward must be one that `torch.fx` can trace. `docs/ops.md` lists the families and the grammar of their names.
"""

from modularnas.ops import (  # noqa: F401  (they register their ops)
    activation,
    attention,
    conv,
    depthwise,
    factorized,
    feed_forward,
    identity,
    interaction,
    linear,
    mbconv,
    none,
    norm,
    pool,
    resnet,
    separable,
    shuffle,
    squeeze_excite,
)
from modularnas.ops.initialise import initialise
from modularnas.ops.registry import Op, build, describe, find, names, register
from modularnas.ops.slot import Slot

__all__ = ["Op", "Slot", "build", "describe", "find", "initialise", "names", "register"]
