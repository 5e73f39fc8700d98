"""Search: any algorithm of `mn.search` over the architectures of a trained supernet, with the weights they share."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, TypedDict

from torch import Tensor

from modularnas import evaluate
from modularnas.evaluate.candidate import Candidate
from modularnas.pipeline.stages.network import load_supernet
from modularnas.pipeline.stages.task import make_task
from modularnas.search import create
from modularnas.study import Study

__all__ = ["Searched", "search"]


class Searched(TypedDict):
    """What a search found."""

    best: dict[str, Any]
    values: dict[str, float]
    front: list[dict[str, Any]]
    trials: list[dict[str, Any]]


def search(
    supernet: dict[str, Any],
    weights: dict[str, Tensor],
    folder: Path,
    seed: int,
    algorithm: str = "regularized_evolution",
    settings: dict[str, Any] | None = None,
    objectives: dict[str, str] | None = None,
    constraints: dict[str, list[float | None]] | None = None,
    trials: int = 100,
    batch_norm: str = "recalibrate",
    n_calibration: int = 4,
    latency: dict[str, Any] | None = None,
) -> Searched:
    """Searches the architectures of a supernet.

    Args:
        supernet: from `construct`.
        weights: of the trained supernet.
        folder: given; it gets the study's file, `study.db`, in which a cut search goes on.
        seed: of the search.
        algorithm: a name of `mn.search.names()`.
        settings: of the algorithm.
        objectives: metric to `"max"` or `"min"`: the task's metrics, `params`, `macs`, `activation_bytes`.
        constraints: metric to `[low, high]`, null for an open side.
        trials: how many architectures.
        batch_norm: which statistics a sub-network gets, see `mn.evaluate.SharedWeights`.
        n_calibration: on how many batches of training data they are measured.
        latency: the `table` of the stage `latency`: gives the metric `latency_ms`, predicted.

    Returns:
        `best`, the point with the best first objective on the front, and its `values`; `front` and `trials`, as lists
        of point and values.
    """
    net, _ = load_supernet(supernet, weights)
    task = make_task(supernet["task"])
    objectives = objectives or {"accuracy": "max"}
    study = Study(
        net.space,
        create(algorithm, **(settings or {})),
        objectives,
        {name: (low, high) for name, (low, high) in (constraints or {}).items()},
        storage=folder / "study.db",
        seed=seed,
    )
    evaluator = evaluate.SharedWeights(
        net.eval(),
        lambda candidate: task.score(candidate, "valid"),
        batch_norm=batch_norm,
        calibration=list(itertools.islice(task.batches("train"), n_calibration)),
    )

    table = None if latency is None else evaluate.LatencyTable.from_json(json.dumps(latency))

    def measure(point: Any) -> dict[str, float]:
        (values,) = evaluator.evaluate([Candidate(0, point)])
        return values if table is None else {**values, "latency_ms": table.predict(point)}

    study.optimize(measure, trials=trials, progress=False)
    metric, direction = next(iter(objectives.items()))
    front = [{"point": dict(t.point), "values": t.values} for t in study.pareto_front]
    best = (max if direction == "max" else min)(front, key=lambda row: row["values"][metric])
    return {
        "best": best["point"],
        "values": best["values"],
        "front": front,
        "trials": [{"point": dict(t.point), "values": t.values} for t in study.trials if t.state == "complete"],
    }
