"""Rewriting: a model and rules become a weight-sharing supernet."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map, tree_map_only

from modularnas import _core
from modularnas.errors import NetworkError, RuleError
from modularnas.nn import MixedOp, elastic_conv
from modularnas.ops.registry import Build
from modularnas.ops.slot import Slot
from modularnas.transform.rules.rule import Rule
from modularnas.transform.supernet import Supernet
from modularnas.transform.trace import Call, Example, Trace, call_arguments, trace

__all__ = ["rewrite"]


def rewrite(model: nn.Module, rules: Sequence[Rule], *, example: Example, inplace: bool = False) -> Supernet:
    """Rewrites a model into a supernet that holds every choice of the rules, sharing weights.

    Args:
        model: any module that runs on `example`.
        rules: what may vary, from `mn.rules`.
        example: an input of the model: a tensor, a tuple of arguments, or a dict of keyword arguments. Only its shape
            matters; costs are counted for it.
        inplace: whether to rewrite the given model itself instead of a copy. The copy is the default and leaves the
            given model alone.

    Returns:
        A module called like the model, trained like the model. Its `original_point` gives the model's own outputs.

    Raises:
        NetworkError: if `model` is no module or does not run on `example`.
        RuleError: if a rule opens nothing, rules contradict one another, or a candidate op does not fit its place.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=torch.randn(1, 3, 8, 8))
        >>> supernet.original_point
        Point({'0.kernel_size': 3})
    """
    if not isinstance(model, nn.Module):
        raise NetworkError(f"rewrite is given a {type(model).__name__}; expected a torch.nn.Module")
    if isinstance(model, Supernet):
        raise NetworkError("rewrite is given a supernet; give the model and all rules at once")
    rules = [rules] if isinstance(rules, Rule) else list(rules)
    for rule in rules:
        if not isinstance(rule, Rule):
            raise RuleError(
                f"a rule is a {type(rule).__name__}; expected one made by mn.rules, such as mn.rules.kernel_size(3, 5)"
            )
    if not rules:
        raise RuleError("rewrite is given no rules; give at least one, such as mn.rules.kernel_size(3, 5)")
    traced = trace(model, *call_arguments(example))
    applied = [rule.applied(model) for rule in rules]
    plan = _core.plan_rewrite({"nodes": traced.records}, applied)
    _check_conditions(plan, traced)
    builds = {
        path: rule.candidates
        for rule, data in zip(rules, applied, strict=True)
        if rule.candidates is not None
        for path in data["targets"]
    }
    if not inplace:
        model = copy.deepcopy(model)
    # One (module, activate) for each decision; built before any is put in place, so that a candidate that contains the
    # replaced class is not opened itself, and a failure leaves an in-place model as it was.
    choices: dict[str, MixedOp] = {}
    costs: dict[str, dict[str, dict[str, int]]] = {}
    for action in plan.actions:
        if action["action"] == "choice":
            path = action["path"]
            choices[path], costs[path] = _mixed_op(model, path, action["candidates"], builds[path], traced)
    switches: list[Any] = []
    _grow(model, plan)
    for action in plan.actions:
        given = model.get_submodule(action["path"])
        if action["action"] == "kernel":
            paddings = action["paddings"] or [None] * len(action["sizes"])
            sizes = [
                (size, padding and tuple(padding)) for size, padding in zip(action["sizes"], paddings, strict=True)
            ]
            switches.append(elastic_conv(given, sizes))
        else:
            switches.append(choices[action["path"]])
    # Innermost first: the paths of outer modules stay valid while inner ones are replaced.
    for path, mixed in reversed(choices.items()):
        given = model.get_submodule(path)
        mixed.train(given.training)
        model = _put(model, given, mixed)
    return Supernet(model, plan, switches, costs)


def _check_conditions(plan: _core.RewritePlan, traced: Trace) -> None:
    """A decision inside a replaced module ends with it, so nothing else may use what it decides on."""
    choices = [action["path"] for action in plan.actions if action["action"] == "choice"]
    for action in plan.actions:
        path = action["path"]
        for outer in choices:
            if path.startswith(f"{outer}.") and outer not in traced.around[path]:
                raise RuleError(
                    f"'{path}' is also used outside of '{outer}', so it cannot vary inside of it while '{outer}' is "
                    "replaced; leave one of them out by where="
                )
    for ways in traced.shared:
        # Every way to a shared parameter can be cut on its own: whether it is left is no product of decisions.
        common: set[str] = set.intersection(*ways)
        cuts = [sorted(way.intersection(choices) - common) for way in ways]
        if all(cuts):
            first, second = list(dict.fromkeys(way[0] for way in cuts))[:2]
            raise RuleError(
                f"'{first}' and '{second}' share a parameter, so only one of them can be replaced; "
                "leave one out by where="
            )


def _mixed_op(
    model: nn.Module, path: str, names: list[str], builds: dict[str, Build | None], traced: Trace
) -> tuple[MixedOp, dict[str, dict[str, int]]]:
    given = model.get_submodule(path)
    calls = traced.calls.get(path)
    if not calls or calls[0].input_shape is None or calls[0].output_shape is None:
        raise RuleError(
            f"'{path}' did not run on the example, so candidates cannot be fitted to it; leave it out by where="
        )
    slot = _slot(given, calls[0].input_shape, calls[0].output_shape)
    device, dtype = _place(given, model)
    modules: list[nn.Module] = []
    costs: dict[str, dict[str, int]] = {}
    for name in names:
        build = builds[name]
        if build is None:
            modules.append(given)
            continue
        try:
            candidate = build(slot)
        except RuleError as error:
            raise RuleError(f"candidate '{name}' of '{path}': {error}") from error
        except Exception as error:
            raise RuleError(
                f"candidate '{name}' cannot be built for '{path}' ({slot}): {type(error).__name__}: {error}"
            ) from error
        if not isinstance(candidate, nn.Module):
            raise RuleError(
                f"candidate '{name}' of '{path}' is a {type(candidate).__name__}; expected a torch.nn.Module"
            )
        candidate = candidate.to(device=device, dtype=dtype)
        costs[name] = _fit(candidate, f"candidate '{name}' of '{path}'", calls, device)
        modules.append(candidate)
    return MixedOp(names, modules), costs


def _fit(candidate: nn.Module, name: str, calls: list[Call], device: torch.device) -> dict[str, int]:
    """The cost of a candidate over all calls of its place, if each gives what is needed there."""
    total: dict[str, int] = {}
    for call in calls:
        args, kwargs = tree_map_only(Tensor, lambda t: torch.zeros_like(t, device=device), (call.args, call.kwargs))
        given = _shapes(args[0] if len(args) == 1 and not kwargs else (*args, kwargs))
        try:
            seen = trace(candidate, args, kwargs)
        except NetworkError as error:
            raise RuleError(f"{name} does not run on its input {given}: {error.__cause__}") from error
        found, expected = _shapes(seen.calls[""][0].output), _shapes(call.output)
        if found != expected:
            raise RuleError(f"{name} gives {found} for the input {given}; expected {expected}")
        for metric, value in seen.cost.items():
            total[metric] = value if metric == "params" else total.get(metric, 0) + value
    return total


def _shapes(value: Any) -> str:
    """Nested values with the shape in the place of each tensor, as text."""

    def shape(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return tuple(leaf.shape)
        return leaf if leaf is None or isinstance(leaf, (bool, int, float, str)) else type(leaf).__name__

    return str(tree_map(shape, value))


def _slot(given: nn.Module, input_shape: torch.Size, output_shape: torch.Size) -> Slot:
    """What a candidate for the place of `given` must fit."""
    if isinstance(given, Slot):
        slot = given
    else:
        inside, outside = _channels(given, input_shape, output_shape)
        slot = Slot(inside, outside, 1 if hasattr(given, "in_features") else _stride(given, input_shape, output_shape))
        slot.bias = getattr(given, "bias", None) is not None if hasattr(given, "bias") else True
        size = getattr(given, "kernel_size", None)
        slot.kernel_size = size[0] if isinstance(size, tuple) and len(set(size)) == 1 else size
        slot.features_last = hasattr(given, "in_features")
        slot._given = [given]
    slot.input_shape, slot.output_shape = input_shape, output_shape
    return slot


def _channels(given: nn.Module, input_shape: torch.Size, output_shape: torch.Size) -> tuple[int, int]:
    for inside, outside in (("in_channels", "out_channels"), ("in_features", "out_features")):
        if isinstance(getattr(given, inside, None), int) and isinstance(getattr(given, outside, None), int):
            return getattr(given, inside), getattr(given, outside)
    return (
        input_shape[1] if len(input_shape) > 1 else input_shape[-1],
        output_shape[1] if len(output_shape) > 1 else output_shape[-1],
    )


def _stride(given: nn.Module, input_shape: torch.Size, output_shape: torch.Size) -> int | tuple[int, ...]:
    stride = getattr(given, "stride", None)
    if stride is None and len(input_shape) == len(output_shape):
        stride = tuple(max(1, round(a / max(b, 1))) for a, b in zip(input_shape[2:], output_shape[2:], strict=True))
    if isinstance(stride, tuple):
        return stride[0] if len(set(stride)) == 1 else (stride or 1)
    return stride if isinstance(stride, int) else 1


def _place(given: nn.Module, model: nn.Module) -> tuple[torch.device, torch.dtype]:
    tensors = [t for m in (given, model) for t in m.parameters() if t.is_floating_point()]
    return (tensors[0].device, tensors[0].dtype) if tensors else (torch.device("cpu"), torch.get_default_dtype())


def _grow(model: nn.Module, plan: _core.RewritePlan) -> None:
    """Surrounds the kernels that the plan makes elastic, up to their largest size."""
    paths = [_weight(action["path"]) for action in plan.actions if action["action"] == "kernel"]
    weights: dict[str, Tensor] = {path: model.get_parameter(path) for path in paths}
    for path, weight in plan.grow(weights).items():
        module = model.get_submodule(path.rpartition(".")[0])
        module.weight = nn.Parameter(weight.contiguous(), requires_grad=weights[path].requires_grad)


def _weight(path: str) -> str:
    return f"{path}.weight" if path else "weight"


def _put(model: nn.Module, given: nn.Module, replacement: nn.Module) -> nn.Module:
    """Puts a module wherever another one is used; returns the model (or the replacement, if that was the model)."""
    if given is model:
        return replacement
    for parent in list(model.modules()):
        if parent is replacement:
            continue
        for name, child in parent._modules.items():
            if child is given:
                parent._modules[name] = replacement
    return model
