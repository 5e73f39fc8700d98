"""Export: a finished network as source and weights that need torch alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from torch import Tensor

from modularnas.pipeline.stages.network import load_network
from modularnas.transform import export as export_network

__all__ = ["Exported", "export"]


class Exported(TypedDict):
    """Where it is."""

    path: Path


def export(network: dict[str, Any], weights: dict[str, Tensor], folder: Path) -> Exported:
    """Writes `model.py`, `weights.safetensors` and `architecture.json`, proved equal in a fresh process.

    Args:
        network: from `derive`.
        weights: trained.
        folder: given; the network is in its `network/`.

    Returns:
        `path`, the folder of the network.
    """
    net, example = load_network(network, weights)
    return {"path": export_network(net.eval(), folder / "network", example=example)}
