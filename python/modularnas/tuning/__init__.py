"""Hyper-parameter tuning: the studies of architectures, over the arguments of a function or of a script.

`function.py` is the decorator, `script.py` an evaluator that runs a script, `parameter.py` reads `lr=log(1e-4,1e-1)`.
The room uses a study and its space; it knows no algorithm and no network.
"""

from modularnas.tuning.function import Tunable, tune
from modularnas.tuning.parameter import parse_parameter
from modularnas.tuning.report import report
from modularnas.tuning.script import Script

__all__ = ["Script", "Tunable", "parse_parameter", "report", "tune"]
