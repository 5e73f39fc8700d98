"""What runs at every choice of a rule that changes the sizes of pictures: one more trace for each.

The native half tables the shape of each tensor by choice, so costs stay exact whatever a forward does with its sizes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from modularnas.errors import NetworkError, RuleError
from modularnas.transform.candidates import Choices, shapes, splice
from modularnas.transform.rules.rule import Rule, matches
from modularnas.transform.trace import Trace, trace

__all__ = ["variants"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def variants(
    model: nn.Module,
    rule: Rule,
    data: Mapping[str, Any],
    traced: Trace,
    choices: Choices,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """What the native half needs of a rule `resolution` or `stride`: the choices that run, and why others do not."""
    assert rule.sizes is not None
    of_choice = _resolutions if data["rule"] == "resolution" else _strides
    target, given, changed = of_choice(model, rule, data, args, kwargs)
    found, unfit = [], {}
    for choice in rule.sizes:
        label = _label(data["rule"], choice)
        try:
            net, arguments, attributes, resized_bytes = changed(choice)
            seen = traced if choice == given else _trace(net, arguments, traced, choices)
        except RuleError as error:
            unfit[str(label)] = str(error)
            continue
        flow = seen.network["flow"]
        found.append(
            {
                "label": label,
                "tensors": flow["tensors"],
                "coefficients": [item["coefficient"] for item in flow["items"]],
                "resized_bytes": resized_bytes,
                "attributes": attributes,
            }
        )
    labels = [variant["label"] for variant in found]
    return {
        "variants": found,
        "given": labels.index(_label(data["rule"], given)),
        "targets": [target],
        "unfit": {target: unfit},
    }


def _label(rule: str, choice: tuple[int, ...]) -> Any:
    return choice[0] if rule == "resolution" and len(set(choice)) == 1 else list(choice)


def _trace(net: nn.Module, arguments: Arguments, given: Trace, choices: Choices) -> Trace:
    """The trace of a choice, if it takes the steps of the given network to an output of the same shape."""
    try:
        seen = trace(net, *arguments, fake=True)
    except NetworkError as error:
        text = str(error.__cause__).strip().split("\n")[0]
        raise RuleError(f"the model's forward fails: {type(error.__cause__).__name__}: {text}") from error
    found, expected = shapes(seen.calls[""][-1].output), shapes(given.calls[""][-1].output)
    if found != expected:
        raise RuleError(f"the model's output becomes {found} instead of {expected}")
    splice(net, choices, seen)
    if _structure(seen) != _structure(given):
        raise RuleError("the model's forward takes other steps")
    return seen


def _structure(traced: Trace) -> Any:
    """All that must be the same at every size."""
    flow = traced.network["flow"]
    items = [(item["metric"], item["axes"], item["within"]) for item in flow["items"]]
    return flow["steps"], items, [len(shape) for shape in flow["tensors"]]


def _resolutions(
    model: nn.Module, rule: Rule, data: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if len(args) != 1 or kwargs or len(tensors) != 1 or args[0] is not tensors[0] or tensors[0].dim() != 4:
        raise RuleError(
            "resolution is meant for a model that is called with one tensor (N, C, H, W); its example is not"
        )
    x = tensors[0]
    given = tuple(x.shape[2:])
    assert rule.sizes is not None
    if given not in rule.sizes:
        raise RuleError(
            f"resolution is given {[_label('resolution', size) for size in rule.sizes]}, but the example has "
            f"{_label('resolution', given)}; give this size too"
        )

    def changed(choice: tuple[int, ...]) -> tuple[nn.Module, Arguments, list[Any], int]:
        shape = (*x.shape[:2], *choice)
        resized_bytes = 0 if choice == given else prod(shape) * x.element_size()
        return model, ((torch.zeros(shape, dtype=x.dtype, device=x.device),), {}), [], resized_bytes

    return "", given, changed


def _strides(
    model: nn.Module, rule: Rule, data: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    assert isinstance(rule.where, list)
    assert rule.sizes is not None
    modules = dict(model.named_modules())
    positions = [[path for path in data["targets"] if matches(where, path, modules[path])] for where in rule.where]
    strides = []
    for where, paths in zip(rule.where, positions, strict=True):
        found: set[Any] = {n for path in paths for n in _strides_of(modules[path])}
        if len(found) != 1:
            raise RuleError(
                f"stride is given where={where!r}, which names strides {sorted(found)}; expected modules of one stride"
            )
        strides.append(found.pop())
    given = tuple(strides)
    if given not in rule.sizes:
        raise RuleError(f"stride is given {list(rule.sizes)}, but the model has {given}; give these strides too")

    def changed(choice: tuple[int, ...]) -> tuple[nn.Module, Arguments, list[Any], int]:
        tensors = [*model.parameters(), *model.buffers()]
        net = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
        attributes = []
        for paths, stride in zip(positions, choice, strict=True):
            for path in paths:
                module: Any = net.get_submodule(path)
                value = (stride,) * len(module.stride) if isinstance(module.stride, tuple) else stride
                module.stride = value
                attributes.append((path, "stride", list(value) if isinstance(value, tuple) else value))
        return net, (args, kwargs), attributes, 0

    return positions[0][0], given, changed


def _strides_of(module: nn.Module) -> tuple[int, ...]:
    stride: Any = module.stride
    return stride if isinstance(stride, tuple) else (stride,)
