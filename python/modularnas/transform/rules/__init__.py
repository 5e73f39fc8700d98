"""Rewrite rules: what may vary in a model, and where (`mn.rules`); `docs/rules.md` has them in a table.

A rule is one function in one file (copy `kernel_size.py`); its data is read and applied by the native half.
"""

from modularnas.transform.rules.activation import activation
from modularnas.transform.rules.depth import depth
from modularnas.transform.rules.dropout import dropout
from modularnas.transform.rules.freeze import freeze
from modularnas.transform.rules.groups import groups
from modularnas.transform.rules.heads import heads
from modularnas.transform.rules.kernel_size import kernel_size
from modularnas.transform.rules.norm import norm
from modularnas.transform.rules.pool import pool
from modularnas.transform.rules.replace import replace, slots
from modularnas.transform.rules.resolution import resolution
from modularnas.transform.rules.rule import Rule
from modularnas.transform.rules.stride import stride
from modularnas.transform.rules.subset import subset
from modularnas.transform.rules.tie import tie
from modularnas.transform.rules.width import expansion, width

__all__ = [
    "Rule",
    "activation",
    "depth",
    "dropout",
    "expansion",
    "freeze",
    "groups",
    "heads",
    "kernel_size",
    "norm",
    "pool",
    "replace",
    "resolution",
    "slots",
    "stride",
    "subset",
    "tie",
    "width",
]
