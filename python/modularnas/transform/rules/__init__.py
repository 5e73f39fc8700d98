"""Rewrite rules: what may vary in a model, and where (`mn.rules`).

A rule is one function in one file (copy `kernel_size.py`); its data is read and applied by the native half.
"""

from modularnas.transform.rules.depth import depth
from modularnas.transform.rules.kernel_size import kernel_size
from modularnas.transform.rules.replace import replace, slots
from modularnas.transform.rules.rule import Rule
from modularnas.transform.rules.subset import subset
from modularnas.transform.rules.width import expansion, width

__all__ = ["Rule", "depth", "expansion", "kernel_size", "replace", "slots", "subset", "width"]
