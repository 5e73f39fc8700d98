"""Evaluation (the paper's η): how good a candidate is, and how far to trust the answer.

An evaluator is any object with `evaluate(trials) -> outcomes` (one for each trial, in the same order: a dict of
metrics, a number if there is one objective, `mn.Failed` or `mn.Pruned`). One evaluator is one file; copy
`function.py`. The room knows torch and what a trial is; no algorithm, no file, and a supernet only by its methods.

- trained: `Standalone`, `SharedWeights`; guessed: `ZeroCost`, `Predictor`, `extrapolate`
- measured: `Latency`, `LatencyTable`, `Throughput`, `PeakMemory`, `Energy`, `ModelSize`
- around others: `Cached`, `Averaged`, `Normalised`, `WeightedSum`, `Product`, `Joined`, `Timeout`, `Ensemble`
- trusted or not: `rank_report`, `compare_evaluators`, `Card` (`study.card()`)
"""

from modularnas.evaluate import zero_cost
from modularnas.evaluate.aggregated import Product, WeightedSum
from modularnas.evaluate.averaged import Averaged
from modularnas.evaluate.batch_norm import recalibrate
from modularnas.evaluate.cached import Cached
from modularnas.evaluate.candidate import Candidate, candidates
from modularnas.evaluate.card import Card, make_card
from modularnas.evaluate.encoding import cell_edges
from modularnas.evaluate.energy import Energy
from modularnas.evaluate.function import Function
from modularnas.evaluate.inheriting import Inheriting
from modularnas.evaluate.interleaved import Interleaved
from modularnas.evaluate.joined import Joined
from modularnas.evaluate.latency import Latency, Throughput, Timing, measure_latency
from modularnas.evaluate.latency_table import LatencyTable
from modularnas.evaluate.learning_curve import extrapolate
from modularnas.evaluate.model_size import ModelSize
from modularnas.evaluate.normalised import Normalised
from modularnas.evaluate.peak_memory import PeakMemory, count_peak_memory, measure_peak_memory
from modularnas.evaluate.predictor import Predictor
from modularnas.evaluate.rank_report import RankReport, compare_evaluators, rank_report
from modularnas.evaluate.shared_weights import SharedWeights
from modularnas.evaluate.standalone import Standalone, inherit_matching
from modularnas.evaluate.timeout import Timeout
from modularnas.evaluate.vectorized import Vectorized
from modularnas.evaluate.zero_cost import Ensemble, ZeroCost

__all__ = [
    "Averaged",
    "Cached",
    "Candidate",
    "Card",
    "Energy",
    "Ensemble",
    "Function",
    "Inheriting",
    "Interleaved",
    "Joined",
    "Latency",
    "LatencyTable",
    "ModelSize",
    "Normalised",
    "PeakMemory",
    "Predictor",
    "Product",
    "RankReport",
    "SharedWeights",
    "Standalone",
    "Throughput",
    "Timeout",
    "Timing",
    "Vectorized",
    "WeightedSum",
    "ZeroCost",
    "candidates",
    "cell_edges",
    "compare_evaluators",
    "count_peak_memory",
    "extrapolate",
    "inherit_matching",
    "make_card",
    "measure_latency",
    "measure_peak_memory",
    "rank_report",
    "recalibrate",
    "zero_cost",
]
