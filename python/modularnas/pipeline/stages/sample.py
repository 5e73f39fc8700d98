"""Sample: an architecture drawn at random, which is what a search has to beat."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from modularnas.errors import PipelineError
from modularnas.evaluate import LatencyTable
from modularnas.pipeline.stages.network import build_supernet

__all__ = ["Sampled", "sample"]

#: How many points are drawn before a limit of latency is given up.
_ATTEMPTS = 1000


class Sampled(TypedDict):
    """A point."""

    point: dict[str, Any]
    costs: dict[str, float]


def sample(
    supernet: dict[str, Any],
    seed: int,
    constraints: dict[str, list[float | None]] | None = None,
    latency: dict[str, Any] | None = None,
) -> Sampled:
    """Draws an architecture.

    Args:
        supernet: from `construct`.
        seed: of the draw.
        constraints: metric (`params`, `macs`, `activation_bytes`) to `[low, high]`, null for an open side.
        latency: the `table` of the stage `latency`: `latency_ms` may have a constraint too.

    Returns:
        `point`, and its `costs`.
    """
    net, _ = build_supernet(supernet)
    bounds = {name: (low, high) for name, (low, high) in (constraints or {}).items()}
    if latency is None:
        (point,) = net.space.samples(1, seed=seed, constraints=bounds)
        return {"point": dict(point), "costs": net.cost(point)}
    table = LatencyTable.from_json(json.dumps(latency))
    low, high = bounds.pop("latency_ms", (None, None))
    for point in net.space.samples(_ATTEMPTS, seed=seed, constraints=bounds):
        latency_ms = float(table.predict(point))
        if (low is None or low <= latency_ms) and (high is None or latency_ms <= high):
            return {"point": dict(point), "costs": {**net.cost(point), "latency_ms": latency_ms}}
    raise PipelineError(f"none of {_ATTEMPTS} architectures drawn at random has a latency_ms within [{low}, {high}]")
