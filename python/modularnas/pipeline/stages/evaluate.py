"""Evaluate: what a finished network can do, and what it costs."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from torch import Tensor

from modularnas.pipeline.stages.network import costs, load_network
from modularnas.pipeline.stages.task import make_task

__all__ = ["Evaluated", "evaluate"]


class Evaluated(TypedDict):
    """Metrics and costs."""

    values: dict[str, float]


def evaluate(
    network: dict[str, Any], weights: dict[str, Tensor], part: Literal["train", "valid", "test"] = "test"
) -> Evaluated:
    """Scores a network.

    Args:
        network: from `derive`.
        weights: trained.
        part: of the task's data.

    Returns:
        `values`: the task's metrics, `params` and `macs`.
    """
    net, example = load_network(network, weights)
    score = make_task(network["task"]).score(net.eval(), part)
    return {"values": {**costs(net, example), **score}}
