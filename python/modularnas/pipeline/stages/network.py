"""Networks as plain data: where to build one, what is opened in it, which point of it."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from modularnas import rules
from modularnas.errors import PipelineError
from modularnas.pipeline.execute import resolve
from modularnas.pipeline.near import near
from modularnas.transform import Supernet, derive, rewrite

__all__ = ["build_network", "build_supernet", "costs", "load_network", "load_supernet", "to_cpu"]


def build_supernet(description: Mapping[str, Any]) -> tuple[Supernet, Tensor]:
    """The supernet of a description from `construct`, with weights made anew, and an example of its input."""
    supernet, example = _build(json.dumps({name: description[name] for name in _MODEL}))
    return copy.deepcopy(supernet), example.clone()


@functools.lru_cache(maxsize=1)  # stages in one process build once
def _build(described: str) -> tuple[Supernet, Tensor]:
    description = json.loads(described)
    # Random numbers of its own, so that a stage sees the same ones whether this was built before or not.
    with torch.random.fork_rng():
        torch.manual_seed(description["seed"])
        return _make(description)


def _make(description: Mapping[str, Any]) -> tuple[Supernet, Tensor]:
    made = resolve(description["model"])(**description["arguments"])
    if isinstance(made, tuple):
        supernet, example = made
        return supernet, example
    if description["example"] is None:
        raise PipelineError("construct needs 'example', the shape of an input such as [1, 3, 32, 32]")
    example = torch.zeros(description["example"])
    opened = [_rule(rule) for rule in description["rules"]]
    if not opened:
        raise PipelineError("construct needs 'rules', such as [{kernel_size: [3, 5, 7]}]")
    return rewrite(made, opened, example=example), example


#: What of a description makes the supernet.
_MODEL = ("model", "arguments", "rules", "example", "seed", "code")


def load_supernet(description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[Supernet, Tensor]:
    """The supernet of a description with given weights, on the device of its task."""
    supernet, example = build_supernet(description)
    supernet.load_state_dict(weights)
    device = description["task"].get("device", "cpu")
    return supernet.to(device), example.to(device)


def build_network(description: Mapping[str, Any]) -> tuple[nn.Module, Tensor]:
    """The network of a description from `derive`, with weights made anew, and an example of its input."""
    if description.get("build"):
        with torch.random.fork_rng():
            torch.manual_seed(description["seed"])
            net = resolve(description["build"])(description["point"], **description["arguments"])
        return net, torch.zeros(description["example"])
    supernet, example = build_supernet(description)
    return derive(supernet, description["point"]), example


def genotype_network(point: Mapping[str, Any], **arguments: Any) -> nn.Module:
    """The network of a DARTS point that is trained afterwards, with `arguments` of `darts.from_genotype`."""
    from modularnas.spaces import darts

    return darts.from_genotype(darts.genotype(point), **arguments)


def costs(net: nn.Module, example: Tensor) -> dict[str, int]:
    """Parameters, and multiply-accumulates of one input."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(example[:1])
    return {"params": sum(p.numel() for p in net.parameters()), "macs": counter.get_total_flops() // 2}


def load_network(description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> tuple[nn.Module, Tensor]:
    """The network of a description with given weights, on the device of its task."""
    net, example = build_network(description)
    net.load_state_dict(weights)
    device = description["task"].get("device", "cpu")
    return net.to(device), example.to(device)


def to_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as a result."""
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


def _rule(described: Mapping[str, Any]) -> rules.Rule:
    """A rule written as `{kernel_size: [3, 5]}` or `{width: {choices: [0.5, 1.0], where: "layer3.*"}}`."""
    if not isinstance(described, Mapping) or len(described) != 1:
        raise PipelineError(f"the rule {described!r}; expected one name and its arguments, as {{kernel_size: [3, 5]}}")
    ((name, given),) = described.items()
    known = [rule for rule in rules.__all__ if rule.islower()]
    if name not in known:
        raise PipelineError(f"there is no rule '{name}'{near(name, known)}")
    rule = getattr(rules, name)
    if isinstance(given, Mapping):
        given = dict(given)
        positional = given.pop("choices", [])
        return rule(*positional, **given)  # type: ignore[no-any-return]
    return rule(*(given or []))  # type: ignore[no-any-return]
