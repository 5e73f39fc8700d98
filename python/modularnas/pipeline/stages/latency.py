"""Latency: a table of what each choice of each decision costs on this machine, in milliseconds.

Measured are networks that differ from a reference in one decision; a network is predicted as the reference plus the
differences of its choices. The table is a result, so searches that use it can be repeated though clocks cannot.
"""

from __future__ import annotations

import time
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from modularnas.pipeline.stages.network import load_supernet

__all__ = ["Measured", "latency"]


class Measured(TypedDict):
    """A table of latencies."""

    table: dict[str, Any]
    error: float


def latency(
    supernet: dict[str, Any],
    weights: dict[str, Tensor],
    seed: int,
    batch_size: int = 1,
    repeats: int = 20,
    n_checked: int = 10,
) -> Measured:
    """Measures the latency of choices, one at a time, from the largest network.

    Args:
        supernet: from `construct`.
        weights: any.
        seed: of the networks that the table is checked on.
        batch_size: of the measured inputs.
        repeats: timed runs of each network, of which the median counts.
        n_checked: how many random networks are measured to know the table's error.

    Returns:
        `table`, for the `latency` of `search`; `error`, the median relative error of its predictions.
    """
    net, example = load_supernet(supernet, weights)
    space = net.space
    x = example[:1].expand(batch_size, *example.shape[1:]).contiguous()
    largest = dict(space.extremes("macs")[1])

    def measured_ms(point: Any) -> float:
        return _time_ms(net.derive(point).eval(), x, repeats)

    constant = measured_ms(largest)
    tables: dict[str, list[list[Any]]] = {}
    for decision in space.decisions:
        tables[decision.name] = [
            [choice, 0.0 if largest.get(decision.name) == choice else measured_ms(changed) - constant]
            for choice in decision.choices or ()
            for changed in [_changed(space, largest, decision.name, choice)]
        ]
    told = {name: {str(choice): ms for choice, ms in rows} for name, rows in tables.items()}
    errors = [
        abs((constant + sum(told[name][str(choice)] for name, choice in point.items())) / measured_ms(point) - 1)
        for point in space.samples(n_checked, seed=seed)
    ]
    return {"table": {"constant": constant, "tables": tables}, "error": float(np.median(errors))}


def _changed(space: Any, point: dict[str, Any], name: str, choice: Any) -> dict[str, Any]:
    """A point with another choice of one decision, without decisions that are inactive then."""
    changed: dict[str, Any] = {}
    for decision in space.decisions:
        if decision.active_if is None or changed.get(decision.active_if[0]) in decision.active_if[1]:
            kept = point.get(decision.name, (decision.choices or (None,))[0])
            changed[decision.name] = choice if decision.name == name else kept
    return changed


def _time_ms(net: nn.Module, x: Tensor, repeats: int) -> float:
    """The median of repeated runs, in milliseconds."""
    times = []
    with torch.no_grad():
        for _ in range(3):
            net(x)
        for _ in range(repeats):
            if x.is_cuda:
                torch.cuda.synchronize()
            started_s = time.perf_counter()
            net(x)
            if x.is_cuda:
                torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - started_s))
    return float(np.median(times))
