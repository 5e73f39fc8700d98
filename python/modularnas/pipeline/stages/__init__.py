"""The ready stages: what a pipeline's `run:` may name without saying where it is.

A stage is one function in one file, of plain data: networks travel as a description (`network.py`) and a state dict,
so that results hold no code. Data, loss and score are a task's (`task.py`). Copy `derive.py`.
"""

__all__ = ["STAGES"]

_HERE = "modularnas.pipeline.stages"

#: Name of a ready stage to where it is.
STAGES = {
    "construct": f"{_HERE}.construct:construct",
    "warm_up": f"{_HERE}.train_supernet:train_supernet",
    "train_supernet": f"{_HERE}.train_supernet:train_supernet",
    "differentiable_search": f"{_HERE}.differentiable_search:differentiable_search",
    "search": f"{_HERE}.search:search",
    "sample": f"{_HERE}.sample:sample",
    "derive": f"{_HERE}.derive:derive",
    "train": f"{_HERE}.train:train",
    "tune": f"{_HERE}.tune:tune",
    "evaluate": f"{_HERE}.evaluate:evaluate",
    "morph": f"{_HERE}.morph:morph",
    "latency": f"{_HERE}.latency:latency",
    "pareto": f"{_HERE}.pareto:pareto",
    "export": f"{_HERE}.export:export",
}
