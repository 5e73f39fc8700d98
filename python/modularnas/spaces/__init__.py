"""Ready search spaces: published models with the rules that open them.

One space is one file with a function that gives a model, its rules and an example input; copy `nats_size.py` for a new
one and import it here. The room knows `transform` and `ops`; no algorithm, no evaluator, no data.
"""

from modularnas.spaces import darts, nasbench201, nasbench_macro
from modularnas.spaces.registry import create, names, register

__all__ = ["create", "darts", "nasbench201", "nasbench_macro", "names", "register"]
