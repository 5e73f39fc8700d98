"""Deriving: the network of one point as a plain module that needs this library no more.

The structure of the supernet is copied with the chosen candidates in their places and the given classes restored;
parameters come from the weight map of the native half. Nothing is initialised to be overwritten.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from modularnas.errors import NetworkError
from modularnas.nn import MixedOp
from modularnas.nn.elastic import _ElasticConv
from modularnas.transform.source import untyped

if TYPE_CHECKING:
    from modularnas.transform.supernet import Supernet

__all__ = ["ARCHITECTURE", "derive"]

#: The attribute of a derived network that says, as plain data, which point it is.
ARCHITECTURE = "_architecture"


def derive(supernet: Supernet, point: Any, *, share: bool = False) -> nn.Module:
    """The plain network of a point: original classes, inherited weights, no trace of the supernet.

    In eval mode it gives what the supernet gives with that point active (the law of weight sharing).

    Args:
        supernet: from `mn.rewrite`.
        point: a point of `supernet.space`.
        share: whether weights are views of the supernet's instead of copies. Such a network is for reading: training
            it changes the supernet.

    Raises:
        SpaceError: if it is no point of the supernet's space.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=torch.randn(1, 3, 8, 8))
        >>> mn.derive(supernet, {"0.kernel_size": 5})[0]
        Conv2d(3, 8, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
    """
    from modularnas.transform.supernet import Supernet

    if not isinstance(supernet, Supernet):
        raise NetworkError(f"derive is given a {type(supernet).__name__}; expected a supernet from mn.rewrite")
    point = supernet.space.point(point)
    plan = supernet._plan
    codes = supernet.space.indices([point])[0].tolist()
    elastic = {a["path"]: s for a, s in zip(plan.actions, supernet._switches, strict=True) if a["action"] == "kernel"}
    weights = {f"{path}.weight" if path else "weight": module.weight for path, module in elastic.items()}
    sliced = plan.slice(point, weights)
    memo: dict[int, Any] = {}
    for path, weight in weights.items():
        if path in sliced:
            memo[id(weight)] = _parameter(sliced[path], weight, share)
    for parameter in supernet.model.parameters():
        memo.setdefault(id(parameter), _parameter(parameter, parameter, share))
    net = _copy(supernet, codes, memo)
    for action, switch, code in zip(plan.actions, supernet._switches, codes, strict=True):
        # An elastic layer inside a candidate that was not chosen has no copy.
        if action["action"] == "kernel" and id(switch) in memo:
            _restore(memo[id(switch)], code)
    net = _plain(net)
    net.__dict__[ARCHITECTURE] = {
        "point": json.loads(point.to_json()),
        "space": supernet.space.fingerprint,
        "cost": supernet.cost(point),
    }
    return net


def _parameter(tensor: torch.Tensor, given: nn.Parameter, share: bool) -> nn.Parameter:
    data = tensor.detach()
    return nn.Parameter(data if share else data.clone(memory_format=torch.contiguous_format), given.requires_grad)


def _copy(supernet: Supernet, codes: list[int], memo: dict[int, Any]) -> nn.Module:
    """A deep copy of the model in which each mixed op is its chosen candidate."""
    for switch, code in reversed(list(zip(supernet._switches, codes, strict=True))):
        if isinstance(switch, MixedOp) and code >= 0:
            memo[id(switch)] = copy.deepcopy(switch.candidates[code], memo)
    return copy.deepcopy(supernet.model, memo)


def _restore(conv: _ElasticConv, code: int) -> None:
    """Makes a copy of an elastic convolution the plain one of a size."""
    conv.activate(code)
    given_class = conv.given_class
    del conv.given_class, conv.sizes
    conv.__class__ = given_class  # type: ignore[assignment]  # mypy knows no change of class


def _plain(net: nn.Module) -> nn.Module:
    """The network with classes of this library (inside candidate ops) turned into graph modules of torch's."""
    if type(net).__module__.partition(".")[0] == "modularnas":
        return _graph(net)
    for parent in list(net.modules()):
        for name, child in parent._modules.items():
            if child is not None and type(child).__module__.partition(".")[0] == "modularnas":
                parent._modules[name] = _graph(child)
    return net


def _graph(module: nn.Module) -> fx.GraphModule:
    traced = fx.symbolic_trace(module)
    untyped(traced.graph)
    traced.recompile()
    return traced
