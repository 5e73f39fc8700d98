"""Evaluation (the paper's η): how good a candidate is.

An evaluator is any object with `evaluate(trials) -> outcomes` (one for each trial, in the same order: a dict of
metrics, a number if there is one objective, `mn.Failed` or `mn.Pruned`). One evaluator is one file; copy
`function.py`. The room knows torch and what a trial is; no algorithm, no file, and a supernet only by its methods.
"""

from modularnas.evaluate.batch_norm import recalibrate
from modularnas.evaluate.function import Function
from modularnas.evaluate.inheriting import Inheriting
from modularnas.evaluate.shared_weights import SharedWeights
from modularnas.evaluate.vectorized import Vectorized

__all__ = ["Function", "Inheriting", "SharedWeights", "Vectorized", "recalibrate"]
