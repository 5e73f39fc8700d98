"""Derive: the plain network of a point, with the weights it inherits."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor

from modularnas.pipeline.stages.network import build_network, load_supernet, to_cpu
from modularnas.transform import derive as derive_network
from modularnas.transform.derive import ARCHITECTURE

__all__ = ["Derived", "derive"]


class Derived(TypedDict):
    """A network as data."""

    network: dict[str, Any]
    weights: dict[str, Tensor]
    costs: dict[str, float]


def derive(
    supernet: dict[str, Any],
    point: dict[str, Any],
    weights: dict[str, Tensor] | None = None,
    arguments: dict[str, Any] | None = None,
) -> Derived:
    """Derives the network of a point.

    Args:
        supernet: from `construct`.
        point: an architecture, such as `search.best`.
        weights: of the supernet, to be inherited; None: the network starts from new ones.
        arguments: other arguments of the model's function, for a larger network of the same architecture; it starts
            from new weights.

    Returns:
        `network`, its description, for the other stages; `weights`; `costs`: `params`, `macs`, `activation_bytes`.
    """
    network = {**supernet, "arguments": {**supernet["arguments"], **(arguments or {})}, "point": point}
    if weights is None or arguments:
        net, _ = build_network(network)
    else:
        net = derive_network(load_supernet(supernet, weights)[0], point)
    costs = net.__dict__[ARCHITECTURE]["cost"]
    return {"network": network, "weights": to_cpu(net.state_dict()), "costs": dict(costs)}
