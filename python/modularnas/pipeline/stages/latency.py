"""Latency: a table of what layers take on this machine, by which a search predicts every network.

The table is a result, so searches that use it can be repeated though clocks cannot.
"""

from __future__ import annotations

import json
from typing import Any, TypedDict

import numpy as np
from torch import Tensor

from modularnas.evaluate import LatencyTable
from modularnas.evaluate.latency import measure_latency
from modularnas.pipeline.stages.network import load_supernet

__all__ = ["Measured", "latency"]


class Measured(TypedDict):
    """A table of latencies."""

    table: dict[str, Any]
    error: float
    constraints: dict[str, list[float | None]]


def latency(
    supernet: dict[str, Any],
    weights: dict[str, Tensor],
    seed: int,
    batch_size: int = 1,
    repeats: int = 20,
    n_networks: int = 32,
    n_points: int = 64,
    n_checked: int = 10,
    limit_ms: float | None = None,
) -> Measured:
    """Measures the layers of a supernet.

    Args:
        supernet: from `construct`.
        weights: any.
        seed: of the networks that are looked at.
        batch_size: of the measured inputs.
        repeats: timed runs of each layer and network, of which the median counts.
        n_networks: whole networks that are measured to correct the sums of layers.
        n_points: networks that are looked through for settings of layers.
        n_checked: how many other networks are measured to know the table's error.
        limit_ms: of the networks to be found; None: the median of networks drawn at random, which means the same on
            every machine.

    Returns:
        `table` and `constraints`, for the `latency` and the `constraints` of `search`; `error`, the median relative
        error of the table's predictions.
    """
    net, example = load_supernet(supernet, weights)
    x = example[:1].expand(batch_size, *example.shape[1:]).contiguous()
    device = x.device
    table = LatencyTable.measure(
        net.eval(), x, device, repeats=repeats, n_networks=n_networks, n_points=n_points, seed=seed
    )
    errors = []
    for point in net.space.samples(n_checked, seed=seed + 1):
        timing = measure_latency(net.derive(point).eval(), x, device=device, repeats=repeats)
        errors.append(abs(table.predict(point) / timing.median_ms - 1))
    if limit_ms is None:
        limit_ms = float(np.median(table.predict(net.space.samples(n_points, seed=seed))))
    return {
        "table": json.loads(table.to_json()),
        "error": float(np.median(errors)),
        "constraints": {"latency_ms": [None, limit_ms]},
    }
