"""Rewrite rules: what may vary in a model, and where (`mn.rules`).

A rule is one function in one file (copy `kernel_size.py`); its data is read and applied by the native half.
"""

from modularnas.transform.rules.kernel_size import kernel_size
from modularnas.transform.rules.replace import replace, slots
from modularnas.transform.rules.rule import Rule

__all__ = ["Rule", "kernel_size", "replace", "slots"]
