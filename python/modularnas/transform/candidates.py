"""Candidate ops as parts of the traced network.

Every candidate of every place is built, run on what its place is given, and written into the data flow beside the
module whose place it can take: its input is that module's input, its output is that module's output. So coupling goes
through candidates as it goes through everything else, and their costs follow the widths around them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map, tree_map_only

from modularnas.errors import NetworkError, RuleError
from modularnas.ops.registry import Build
from modularnas.ops.slot import Slot
from modularnas.transform.duplicate import duplicate
from modularnas.transform.rules.rule import Rule
from modularnas.transform.trace import Call, Trace, joined, on_meta, trace

__all__ = ["Choices", "build", "channel_layout", "copied", "modules_of", "shapes", "splice"]

#: By place and name: the module; None stands for the given one.
Choices = Mapping[str, Mapping[str, nn.Module | None]]


def candidate_path(place: str, name: str) -> str:
    """The path of a candidate, as the native half spells it."""
    return f"{place}:{name}"


class _Place:
    """A module whose place candidates can take."""

    def __init__(self, model: nn.Module, path: str, calls: list[Call]) -> None:
        self.path = path
        self.calls = calls
        self.given = model.get_submodule(path)
        self.device, self.dtype = _device(self.given, model)

    def slot(self) -> Slot:
        """What a candidate must fit."""
        if not self.calls or self.calls[0].input_shape is None or self.calls[0].output_shape is None:
            raise RuleError(
                f"'{self.path}' did not run on the example, so candidates cannot be fitted to it; "
                "leave it out by where="
            )
        return _slot(self.given, self.calls[0].input_shape, self.calls[0].output_shape)

    def build(self, name: str, build: Build, slot: Slot) -> nn.Module:
        """A candidate."""
        try:
            candidate = build(slot)
        except RuleError as error:
            raise RuleError(f"candidate '{name}' of '{self.path}': {error}") from error
        except Exception as error:
            raise RuleError(
                f"candidate '{name}' cannot be built for '{self.path}' ({slot}): {type(error).__name__}: {error}"
            ) from error
        if not isinstance(candidate, nn.Module):
            raise RuleError(
                f"candidate '{name}' of '{self.path}' is a {type(candidate).__name__}; expected a torch.nn.Module"
            )
        return candidate.to(device=self.device, dtype=self.dtype).train(self.given.training)

    def run(self, name: str, candidate: nn.Module) -> list[Trace]:
        """What a candidate does, a trace a call of its place, if each gives what is needed there."""
        traces = []
        for call in self.calls:
            args, kwargs = tree_map_only(
                Tensor, partial(torch.zeros_like, device=self.device), on_meta((call.args, call.kwargs))
            )
            given = shapes(args[0] if len(args) == 1 and not kwargs else (*args, kwargs))
            at = f"candidate '{name}' of '{self.path}'"
            try:
                seen = trace(candidate, args, kwargs)
            except NetworkError as error:
                raise RuleError(f"{at} does not run on its input {given}: {error.__cause__}") from error
            found, expected = shapes(seen.calls[""][0].output), shapes(call.output)
            if found != expected:
                raise RuleError(f"{at} gives {found} for the input {given}; expected {expected}")
            traces.append(seen)
        return traces


def build(
    model: nn.Module, rules: Sequence[Rule], applied: Sequence[dict[str, Any]], traced: Trace
) -> dict[str, dict[str, nn.Module | None]]:
    """The candidates of every place, and the data flow with them; `applied` learns which do not fit.

    Raises:
        RuleError: if a candidate does not fit its place and the rule names it for just such places.
    """
    kinds = {node["path"]: node for node in traced.network["nodes"]}
    frozen = {path for rule in applied if rule["rule"] == "freeze" for path in rule["targets"]}
    choices: dict[str, dict[str, nn.Module | None]] = {}
    known: dict[Any, list[Trace]] = {}
    for rule, data in zip(rules, applied, strict=True):
        if rule.candidates is None:
            continue
        for path in data["targets"]:
            given = kinds[path].get("name") if rule.kind else None
            if traced.around[path] & frozen or path in choices or (rule.kind and given not in rule.candidates):
                continue  # the native half says so
            place = _Place(model, path, traced.calls.get(path, []))
            choices[path] = {}
            for name, make in rule.candidates.items():
                if make is None or name == given:
                    choices[path][name] = None
                    continue
                try:
                    slot = place.slot()
                    candidate = place.build(name, make, slot)
                    # What a placeholder of the same shape was given before does the same here.
                    calls = [(call.args, call.kwargs, call.output) for call in place.calls]
                    alike = None if slot._given else (make, str(slot), slot.bias, str(calls))
                    traces = known.get(alike) or place.run(name, candidate)
                except RuleError as error:
                    if rule.kind is None:
                        raise
                    data["unfit"].setdefault(path, {})[name] = str(error)
                    continue
                if alike is not None:
                    known[alike] = traces
                choices[path][name] = candidate
                _insert(traced, path, name, traces)
            if sum(1 for _ in choices[path]) < 2 and rule.kind:
                del choices[path]
    _settle(traced)
    return choices


def splice(model: nn.Module, choices: Choices, traced: Trace) -> None:
    """Writes candidates that are built already into the data flow of another trace of the same model.

    Raises:
        RuleError: if one does not fit its place there.
    """
    for path, candidates in choices.items():
        place = _Place(model, path, traced.calls.get(path, []))
        for name, candidate in candidates.items():
            if candidate is not None:
                _insert(traced, path, name, place.run(name, candidate))
    _settle(traced)


def _insert(traced: Trace, path: str, name: str, traces: list[Trace]) -> None:
    """Writes the traces of a candidate, one a call of its place, into the data flow; its steps wait for `_settle`."""
    network = traced.network
    flow, nodes = network["flow"], network["nodes"]
    place = next(i for i, node in enumerate(nodes) if node["path"] == path)
    first = len(nodes)
    outside = [node for node in nodes[place]["within"] if node != place]
    own_path = candidate_path(path, name)
    for node in traces[0].network["nodes"]:
        within = [*outside, *(first + i for i in node["within"])]
        nodes.append({**node, "path": joined(own_path, node["path"]), "within": within, "place": place})
    known: dict[int, int] = {}
    for call, seen in zip(traced.calls[path], traces, strict=True):
        inner = seen.network["flow"]
        base, operators = len(flow["tensors"]), len(flow["operators"])

        def tensor(index: int, base: int = base) -> int:
            return known.get(index, base + index)

        flow["tensors"] += inner["tensors"]
        flow["operators"] += [f"{text.partition(' in ')[0]} in '{own_path}'" for text in inner["operators"]]
        for parameter in inner["parameters"]:
            # The first tensors of every trace are the parameters.
            if parameter["tensor"] not in known:
                moved = {
                    "tensor": base + parameter["tensor"],
                    "holders": [[first + node, name] for node, name in parameter["holders"]],
                    "within": [*outside, *(first + node for node in parameter["within"])],
                }
                flow["parameters"].append({**parameter, **moved})
        known.update({p["tensor"]: tensor(p["tensor"]) for p in inner["parameters"]})
        axis = partial(_axis, tensor)
        for layer in inner["layers"]:
            reads = layer["input"] and axis(layer["input"])
            moved = {"node": first + layer["node"], "output": axis(layer["output"]), "input": reads}
            flow["layers"].append(moved)
        for item in inner["items"]:
            within = [*outside, *(first + node for node in item["within"])]
            flow["items"].append({**item, "axes": [axis(one) for one in item["axes"]], "within": within})
        operator = len(flow["operators"])
        flow["operators"].append(f"a candidate of '{path}'")
        steps = []
        mine = seen.calls[""][0].record
        for outer, own in zip(call.record["inputs"], mine["inputs"], strict=True):
            letters = list(range(len(flow["tensors"][outer])))
            made = tensor(own)
            step = {"step": "align", "tensors": [outer, made], "letters": [letters, letters], "made": made}
            steps.append({**step, "operator": operator})
        steps += [_moved(step, tensor, operators, first) for step in inner["steps"]]
        for outer, own in zip(call.record["outputs"], mine["outputs"], strict=True):
            letters = list(range(len(flow["tensors"][outer])))
            both = [tensor(own), outer]
            made = len(flow["tensors"])  # nothing: both are known
            step = {"step": "align", "tensors": both, "letters": [letters, letters], "made": made}
            if nodes[place]["kind"] == "slot" and call.end not in traced.filled.get(path, ()):
                # Nothing but candidates makes what a placeholder returns.
                step = {"step": "cat", "from": [tensor(own)], "to": outer, "dim": 0}
            steps.append({**step, "operator": operator})
        traced.filled.setdefault(path, set()).add(call.end)
        traced.waiting.append((call.end, steps))


def _settle(traced: Trace) -> None:
    """Puts the steps of candidates where their places ended."""
    steps = traced.network["flow"]["steps"]
    merged: list[dict[str, Any]] = []
    at = 0
    for end, more in sorted(traced.waiting, key=lambda waiting: waiting[0]):
        merged += steps[at:end]
        at = end
        merged += more
    steps[:] = [*merged, *steps[at:]]
    traced.waiting.clear()


def _axis(tensor: Callable[[int], int], axis: Sequence[int]) -> list[int]:
    return [tensor(axis[0]), axis[1]]


def _moved(step: dict[str, Any], tensor: Callable[[int], int], operators: int, nodes: int) -> dict[str, Any]:
    """A step of a candidate with the numbers that tensors, operators and modules have in the whole network."""

    def one(value: Any) -> Any:
        return [tensor(index) for index in value] if isinstance(value, list) else tensor(value)

    kind = step["step"]
    moved = dict(step)
    if "operator" in step:
        moved["operator"] = operators + step["operator"]
    if kind == "align":
        moved.update(tensors=one(step["tensors"]), made=tensor(step["made"]))
    elif kind == "fix":
        moved.update(tensors=one(step["tensors"]))
    elif kind == "group":
        member = step["member"]
        moved.update(axis=_axis(tensor, step["axis"]), member=member and _axis(tensor, member))
    elif kind == "repeat":
        moved.update({"from": _axis(tensor, step["from"]), "to": _axis(tensor, step["to"])})
    else:
        moved.update({"from": one(step["from"]), "to": one(step["to"])})
        if kind == "view":
            moved["node"] = nodes + step["node"]
    return moved


def copied(choices: Choices) -> Choices:
    """Candidates with the same tensors in modules of their own."""
    memo = {id(t): t for module in modules_of(choices).values() for t in (*module.parameters(), *module.buffers())}
    return {
        place: {name: module and duplicate(module, memo) for name, module in candidates.items()}
        for place, candidates in choices.items()
    }


def modules_of(choices: Choices) -> dict[str, nn.Module]:
    """Every module of every candidate by its path."""
    return {
        joined(candidate_path(place, name), inner): module
        for place, candidates in choices.items()
        for name, candidate in candidates.items()
        if candidate is not None
        for inner, module in candidate.named_modules()
    }


def shapes(value: Any) -> str:
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
        layout = channel_layout(given, input_shape, output_shape)
        stride = _stride(given, input_shape, output_shape) if layout == "channels" else 1
        if layout == "features":
            inside, outside = input_shape[-1], output_shape[-1]
        slot = Slot(inside, outside, stride, layout=layout)
        slot.bias = getattr(given, "bias", None) is not None if hasattr(given, "bias") else True
        size = getattr(given, "kernel_size", None)
        slot.kernel_size = size[0] if isinstance(size, tuple) and len(set(size)) == 1 else size
        slot._given = [given]
    slot.input_shape, slot.output_shape = input_shape, output_shape
    return slot


def channel_layout(
    given: nn.Module, input_shape: torch.Size, output_shape: torch.Size
) -> Literal["channels", "features", "fields"]:
    """Where a module's place has its channels. `(N, C, L)` and `(N, L, D)` look alike, so its layers decide."""
    if hasattr(given, "in_features") or (
        isinstance(given, (nn.LayerNorm, nn.RMSNorm)) and not type(given).__name__.endswith("2d")
    ):
        return "features"
    if len(input_shape) == 3 and len(output_shape) == 2:
        return "fields"
    if len(input_shape) == len(output_shape) == 3 and input_shape[:2] == output_shape[:2]:
        layers = list(given.modules())
        last = any(isinstance(layer, (nn.Linear, nn.LayerNorm, nn.MultiheadAttention)) for layer in layers)
        if last and not any(hasattr(layer, "in_channels") for layer in layers):
            return "features"
    return "channels"


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


def _device(given: nn.Module, model: nn.Module) -> tuple[torch.device, torch.dtype]:
    tensors = [t for m in (given, model) for t in m.parameters() if t.is_floating_point()]
    return (tensors[0].device, tensors[0].dtype) if tensors else (torch.device("cpu"), torch.get_default_dtype())
