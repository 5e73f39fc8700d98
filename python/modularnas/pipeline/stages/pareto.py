"""Pareto: what several searches found, side by side: their fronts, hypervolumes and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from modularnas.errors import PipelineError
from modularnas.pareto import hypervolume, pareto_front

__all__ = ["Compared", "pareto"]


class Compared(TypedDict):
    """Fronts side by side."""

    hypervolumes: dict[str, float]
    fronts: dict[str, list[dict[str, Any]]]
    best: dict[str, Any]


def pareto(objectives: dict[str, str], folder: Path, **searches: list[dict[str, Any]]) -> Compared:
    """Compares the trials of searches with two objectives.

    Args:
        objectives: metric to `"max"` or `"min"`, two of them.
        folder: given; it gets `pareto.png` where matplotlib is installed.
        searches: name to the `trials` of a search.

    Returns:
        `hypervolumes` by name, the share of the box around all trials that each front dominates; `fronts` by name;
        `best`, the point with the best first objective of all.
    """
    if len(objectives) != 2 or not searches:
        raise PipelineError(
            f"pareto is given the objectives {list(objectives)} and the searches {list(searches)}; expected two "
            "objectives, and the trials of each search as an input with its name"
        )
    signs = {metric: -1.0 if direction == "max" else 1.0 for metric, direction in objectives.items()}
    losses = {
        name: np.array([[sign * row["values"][metric] for metric, sign in signs.items()] for row in trials])
        for name, trials in searches.items()
    }
    every = np.concatenate(list(losses.values()))
    low, high = every.min(0), every.max(0)
    span = np.where(high > low, high - low, 1.0)
    volumes, fronts = {}, {}
    for name, rows in losses.items():
        # In units of the range of all trials, so that the two objectives count alike.
        scaled = (rows - low) / span
        fronts[name] = sorted(
            (searches[name][i] for i in pareto_front(scaled)), key=lambda row: row["values"][list(signs)[1]]
        )
        volumes[name] = float(hypervolume(scaled, np.ones(2)))
    metric, sign = next(iter(signs.items()))
    best = min((row for rows in fronts.values() for row in rows), key=lambda row: sign * row["values"][metric])
    _draw(folder / "pareto.png", searches, fronts, list(signs))
    return {"hypervolumes": volumes, "fronts": fronts, "best": best["point"]}


def _draw(path: Path, searches: dict[str, Any], fronts: dict[str, Any], metrics: list[str]) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    y, x = metrics
    for color, (name, trials) in zip(
        ("tab:blue", "tab:orange", "tab:green", "tab:red"), searches.items(), strict=False
    ):
        axes.scatter([t["values"][x] for t in trials], [t["values"][y] for t in trials], s=9, alpha=0.3, color=color)
        front = [(t["values"][x], t["values"][y]) for t in fronts[name]]
        axes.step(*zip(*front, strict=True), where="post", color=color, marker="o", markersize=3, label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
