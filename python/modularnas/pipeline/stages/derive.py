"""Derive: the plain network of a point, with the weights it inherits."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor

from modularnas.pipeline.stages.network import build_network, build_supernet, costs, load_supernet, to_cpu
from modularnas.transform import derive as derive_network

__all__ = ["Derived", "derive"]


class Derived(TypedDict):
    """A network as data."""

    network: dict[str, Any]
    weights: dict[str, Tensor]
    costs: dict[str, int]


def derive(
    supernet: dict[str, Any],
    point: dict[str, Any],
    weights: dict[str, Tensor] | None = None,
    build: str | None = None,
    arguments: dict[str, Any] | None = None,
) -> Derived:
    """Derives the network of a point.

    Args:
        supernet: from `construct`.
        point: an architecture, such as `search.best`.
        weights: of the supernet, to be inherited; None: the network starts from new ones.
        build: `"module:function"` that makes another network of the point, such as a deeper one, as
            `function(point, **arguments)`; it starts from new weights.
        arguments: of that function, or of the model's.

    Returns:
        `network`, its description, for the other stages; `weights`; `costs`: `params` and `macs`.
    """
    network = {**supernet, "point": point, "build": build}
    if build is not None:
        if network["example"] is None:
            network["example"] = list(build_supernet(supernet)[1].shape)
        network["arguments"] = arguments or {}
    else:
        network["arguments"] = {**supernet["arguments"], **(arguments or {})}
    if weights is None or build is not None or arguments:
        net, example = build_network(network)
    else:
        whole, example = load_supernet(supernet, weights)
        net = derive_network(whole, point).cpu()
    return {"network": network, "weights": to_cpu(net.state_dict()), "costs": costs(net, example.cpu())}
