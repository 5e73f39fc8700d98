"""Rewriting: a model and rules become a weight-sharing supernet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from modularnas import _core
from modularnas.errors import NetworkError, RuleError
from modularnas.nn import Chosen, Cut, Elastic, MaskedMixedOp, MaskedNorm, MaskedSkippable, MixedOp, Skippable, elastic
from modularnas.nn.fuse import fuse as fuse_forms
from modularnas.ops.registry import Build
from modularnas.ops.slot import Slot
from modularnas.train.strategy import settled
from modularnas.transform.duplicate import duplicate
from modularnas.transform.rules.rule import Rule
from modularnas.transform.supernet import Supernet
from modularnas.transform.trace import Call, Example, Trace, call_arguments, evaluating, on_meta, trace

__all__ = ["channel_layout", "rewrite"]


def rewrite(
    model: nn.Module,
    rules: Sequence[Rule],
    *,
    example: Example,
    inplace: bool = False,
    mode: Literal["sliced", "masked"] = "sliced",
    fuse: bool = True,
) -> Supernet:
    """Rewrites a model into a supernet that holds every choice of the rules, sharing weights.

    Args:
        model: any module that runs on `example`.
        rules: what may vary, from `mn.rules`.
        example: an input of the model: a tensor, a tuple of arguments, or a dict of keyword arguments. Only its shape
            matters; costs are counted for it.
        inplace: whether to rewrite the given model itself instead of a copy. The copy is the default and leaves the
            given model alone.
        mode: `"sliced"`: a sub-network takes only its own time. `"masked"`: everything has one shape, so
            `torch.compile` makes one graph for all points, each taking the time of the largest; what cannot be masked
            (a size that the model's forward reads from a shape) stays closed and is reported.
        fuse: whether weighted sums of candidates (`supernet.relax`) take fused forms: equal to rounding, in fewer
            calls and less memory; `supernet.report()` says which.

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
    if mode not in ("sliced", "masked"):
        raise RuleError(f"rewrite is given mode={mode!r}; expected 'sliced' or 'masked'")
    args, kwargs = call_arguments(example)
    traced = trace(model, args, kwargs)
    applied = [rule.applied(model) for rule in rules]
    plan = _core.plan_rewrite(traced.network, applied)
    builds = {
        path: rule.candidates
        for rule, data in zip(rules, applied, strict=True)
        if rule.candidates is not None
        for path in data["targets"]
    }
    verified = any(action["action"] in VERIFIED for action in plan.actions)
    while True:
        grown = _grown(model, plan)
        if inplace and not verified:
            break
        # In a copy first, so that a given model is changed only by what works.
        # What is replaced by a larger weight needs no copy.
        tensors = [*model.parameters(), *model.buffers()] if inplace else map(model.get_parameter, grown)
        copied = duplicate(model, {id(tensor): tensor for tensor in tensors})
        supernet = _supernet(copied, plan, builds, traced, mode, fuse, grown)
        refused = _refused(supernet, plan, traced, args, kwargs)
        if not refused:
            if not inplace:
                return supernet
            break
        plan = plan.without(refused)
    return _supernet(model, plan, builds, traced, mode, fuse, grown)


#: Decisions that the user's own forward may not allow; each is tried before it is kept.
VERIFIED = ("width", "depth", "subset")


def _supernet(
    model: nn.Module,
    plan: _core.RewritePlan,
    builds: dict[str, dict[str, Build | None]],
    traced: Trace,
    mode: str,
    fuse: bool,
    grown: Mapping[str, nn.Parameter],
) -> Supernet:
    """Puts into a model, in place, what a plan opens."""
    _check_conditions(plan, traced)
    order = {path: model.get_submodule(path) for path in traced.calls}
    # Built before anything is put in place, so that a candidate that contains the replaced class is not opened itself,
    # and a failure leaves an in-place model as it was.
    switches: list[list[tuple[Any, Sequence[Any]]]] = [[] for _ in plan.space.decisions]
    costs: dict[str, dict[str, dict[str, int]]] = {}
    known: dict[Any, dict[str, int]] = {}
    fusable: list[MixedOp] = []
    placed: dict[nn.Module, nn.Module] = {}
    for action in plan.actions:
        path = action["path"]
        if action["action"] == "choice":
            given = model.get_submodule(path)
            mixed, costs[path] = _mixed_op(model, path, action["candidates"], builds[path], traced, known, mode)
            mixed.train(given.training)
            placed[given] = mixed
            if all(isinstance(call.output, Tensor) for call in traced.calls[path]):
                fusable.append(mixed)
            switches[action["decision"]].append((mixed, range(len(action["candidates"]))))
    for path, weight in grown.items():
        model.get_submodule(path.rpartition(".")[0]).weight = weight
    parts = _make_elastic(model, plan, mode)
    for action in plan.actions:
        if action["action"] == "subset":
            if mode == "masked":
                raise RuleError(
                    f"'{action['path']}' is a list of which some modules stay, which no mask can say; "
                    'use mode="sliced"'
                )
            chosen = model.get_submodule(action["path"])
            chosen.__class__ = Chosen
            codes = zip(*(present for _, present in action["blocks"]), strict=True)
            switches[action["decision"]].append((chosen, list(codes)))
        if action["action"] == "depth":
            for path, present in action["blocks"]:
                if all(present):
                    continue
                given = model.get_submodule(path)
                # What is replaced and may be left out is left out as a whole.
                kind = MaskedSkippable if mode == "masked" else Skippable
                block = kind(placed.get(given, given), traced.calls[path][0].output)
                block.training = given.training
                switches[action["decision"]].append((block, present))
                placed[given] = block
    # Innermost first: what an outer module holds is replaced before the outer module is.
    for given in reversed([module for module in model.modules() if module in placed]):
        model = _put(model, given, placed[given])
    inside = _inside(switches, parts) if mode == "masked" else []
    shared = fuse_forms(fusable) if fuse and mode == "sliced" else None
    return Supernet(model, plan, switches, parts, costs, mode=mode, inside=inside, order=order, shared=shared)


def _inside(
    switches: Sequence[Sequence[tuple[Any, Sequence[Any]]]], parts: dict[str, Elastic]
) -> list[tuple[MaskedNorm, list[tuple[int, list[bool]]]]]:
    """The batch norms that are part of the network only for some codes of decisions, made masked ones."""
    regions: dict[nn.Module, list[tuple[int, list[bool]]]] = {}
    for decision, switch in enumerate(switches):
        for module, states in switch:
            blocks = [(module, states)]
            if isinstance(module, MixedOp):
                blocks = [(m, [state == i for state in states]) for i, m in enumerate(module.candidates)]
            for block, present in blocks:
                for inner in block.modules():
                    if isinstance(inner, _NormBase) and inner.track_running_stats:
                        regions.setdefault(inner, []).append((decision, list(present)))
    for norm in regions:
        if not isinstance(norm, Elastic):
            parts[f"inside {len(parts)}"] = elastic(norm, [], kind="masked")
    return [(norm, of_norm) for norm, of_norm in regions.items() if isinstance(norm, MaskedNorm)]


def _make_elastic(model: nn.Module, plan: _core.RewritePlan, mode: str) -> dict[str, Elastic]:
    """Makes every module elastic of which a part may stay."""
    cuts: dict[str, list[Cut]] = {}
    for cut in plan.cuts:
        runs = [(run["decision"], [tuple(r) for r in run["ranges"]], tuple(run["inactive"])) for run in cut["runs"]]
        for path, name in cut["holders"]:
            cuts.setdefault(path, []).append(Cut(name, cut["dim"], runs))
    paddings = {
        action["path"]: (
            action["decision"],
            [p and tuple(p) for p in action["paddings"] or [None] * len(action["sizes"])],
        )
        for action in plan.actions
        if action["action"] == "kernel"
    }
    return {
        path: elastic(model.get_submodule(path), of_module, paddings.get(path), mode)
        for path, of_module in cuts.items()
    }


def _refused(
    supernet: Supernet, plan: _core.RewritePlan, traced: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, str]:
    """The decisions, by name with the reason, at which the model's own forward fails or costs other than planned.

    A forward may have sizes written into it, which no data flow shows. So the networks of small points run once on
    fake tensors: with everything small and with every second decision small, and only if that fails with parts of it.
    """
    original = supernet.original_point or supernet.space.sample(seed=0)
    given = supernet.space.indices([original])[0].tolist()
    tried: dict[str, str] = {}

    actions = {action["decision"]: action for action in plan.actions}

    def problem(decisions: Sequence[int]) -> str | None:
        codes = list(given)
        for decision in decisions:
            codes[decision] = _smallest(actions[decision])
        return _problem(supernet, supernet.space.point_at(settled(supernet.space, codes)), traced, args, kwargs)

    def search(groups: list[list[int]]) -> None:
        if not groups:
            return
        found = problem([decision for group in groups for decision in group])
        if found is None:
            return
        if len(groups) == 1 and len(groups[0]) == 1:
            tried[supernet.space.decisions[groups[0][0]].name] = found
            return
        if len(groups) == 1:
            groups = [[decision] for decision in groups[0]]
            if (same := problem(groups[0])) is not None and problem(groups[-1]) is not None:
                # Places alike fail alike.
                tried.update({supernet.space.decisions[d].name: same for group in groups for d in group})
                return
        half, known = len(groups) // 2, len(tried)
        search(groups[:half])
        search(groups[half:])
        if len(tried) == known:
            # Only together do they fail; which one is to blame nobody can say.
            tried.update({supernet.space.decisions[d].name: found for group in groups for d in group})

    alike: dict[tuple[str, str], list[int]] = {}
    for decision, action in actions.items():
        if action["action"] in VERIFIED:
            pattern = re.sub(r"\d+", "*", supernet.space.decisions[decision].name)
            alike.setdefault((action["action"], pattern), []).append(decision)
    search(list(alike.values()))

    def left(kind: str) -> list[list[int]]:
        groups = [group for (of_kind, _), group in alike.items() if of_kind == kind]
        return [[d for d in group if supernet.space.decisions[d].name not in tried] for group in groups]

    # What only works if others are small as well shows when every second one is; and what is in blocks that were left
    # out shows when they are there.
    widths, depths = left("width") + left("subset"), left("depth")
    for parity in (0, 1):
        half = [[d for j, d in enumerate(group) if (i + j) % 2 == parity] for i, group in enumerate(widths)]
        search([group for group in half if group])
    if any(widths):
        search([group for group in depths if group])
    return tried


def _smallest(action: dict[str, Any]) -> int:
    if action["action"] == "width":
        sizes = action["channels"]
    else:
        sizes = [sum(present[code] for _, present in action["blocks"]) for code in range(len(action["blocks"][0][1]))]
    return min(range(len(sizes)), key=lambda code: sizes[code])


def _problem(
    supernet: Supernet, point: Any, traced: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """What is wrong with the network of a point; None if it runs as planned."""
    net = supernet.derive(point, share=True)
    try:
        seen = trace(net, args, kwargs, fake=True)
    except NetworkError as error:
        text = str(error.__cause__).strip().split("\n")[0]
        return f"the model's forward fails at another size: {type(error.__cause__).__name__}: {text}"
    found, expected = _shapes(seen.calls[""][-1].output), _shapes(traced.calls[""][-1].output)
    if found != expected:
        return f"the model's output becomes {found} instead of {expected} at another size"
    cost = supernet.cost(point)
    if seen.cost != cost:
        metric = next(metric for metric in cost if cost[metric] != seen.cost[metric])
        return f"its {metric} are {seen.cost[metric]} at another size and not {cost[metric]} as planned"
    return _unmasked(supernet, point, net, args, kwargs) if supernet.mode == "masked" else None


def _unmasked(
    supernet: Supernet, point: Any, net: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """Whether masks fail to give what the network of a point gives, in numbers; None if they do."""
    with evaluating(supernet), evaluating(net), torch.no_grad(), torch.random.fork_rng(devices=[]):
        given, expected = supernet.activate(point)(*args, **kwargs), net(*args, **kwargs)
    for a, b in zip(tree_leaves(given), tree_leaves(expected), strict=True):
        if isinstance(a, Tensor) and a.is_floating_point() and not torch.allclose(a, b, rtol=1e-3, atol=1e-4):
            return (
                f"with masks the output is off by {(a - b).abs().max().item():.1e}: a parameter-free norm, a mean or "
                'an attention over channels counts those that are left out; use mode="sliced"'
            )
    return None


def _check_conditions(plan: _core.RewritePlan, traced: Trace) -> None:
    """A decision inside a region ends with it, so nothing else may use what it decides on."""
    choices = [action["path"] for action in plan.actions if action["action"] == "choice"]
    blocks = [path for action in plan.actions for path, _ in action.get("blocks", ())]
    for action in plan.actions:
        path = action["path"]
        for outer in [*choices, *blocks]:
            if path.startswith(f"{outer}.") and outer not in traced.around[path]:
                raise RuleError(
                    f"'{path}' is also used outside of '{outer}', so it cannot vary inside of it while '{outer}' is "
                    "replaced or left out; leave one of them out by where="
                )
    for ways in traced.shared:
        # Every way to a shared parameter can be cut on its own: whether it is left is no product of decisions.
        common: set[str] = set.intersection(*ways)
        cuts = [sorted(way.intersection([*choices, *blocks]) - common) for way in ways]
        if all(cuts):
            first, second = list(dict.fromkeys(way[0] for way in cuts))[:2]
            raise RuleError(
                f"'{first}' and '{second}' share a parameter, so only one of them can be replaced or left out; "
                "leave one out by where="
            )


def _mixed_op(
    model: nn.Module,
    path: str,
    names: list[str],
    builds: dict[str, Build | None],
    traced: Trace,
    known: dict[Any, dict[str, int]],
    mode: str,
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
        # What a placeholder of the same shape was given before fits here too, at the same cost.
        alike = None if slot._given else (build, str(slot), slot.bias, str([(c.args, c.kwargs) for c in calls]))
        costs[name] = known.get(alike) or _fit(candidate, f"candidate '{name}' of '{path}'", calls, device)
        if alike is not None:
            known[alike] = costs[name]
        modules.append(candidate)
    return (MaskedMixedOp if mode == "masked" else MixedOp)(names, modules), costs


def _fit(candidate: nn.Module, name: str, calls: list[Call], device: torch.device) -> dict[str, int]:
    """The cost of a candidate over all calls of its place, if each gives what is needed there."""
    total: dict[str, int] = {}
    for call in calls:
        args, kwargs = tree_map_only(
            Tensor, partial(torch.zeros_like, device=device), on_meta((call.args, call.kwargs))
        )
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
    if hasattr(given, "in_features"):
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


def _place(given: nn.Module, model: nn.Module) -> tuple[torch.device, torch.dtype]:
    tensors = [t for m in (given, model) for t in m.parameters() if t.is_floating_point()]
    return (tensors[0].device, tensors[0].dtype) if tensors else (torch.device("cpu"), torch.get_default_dtype())


def _grown(model: nn.Module, plan: _core.RewritePlan) -> dict[str, nn.Parameter]:
    """By path, what takes the place of kernels that the plan makes elastic: zeros around them up to the largest."""
    paths = [_weight(action["path"]) for action in plan.actions if action["action"] == "kernel"]
    weights: dict[str, Tensor] = {path: model.get_parameter(path) for path in paths}
    return {
        path: nn.Parameter(weight.contiguous(), requires_grad=weights[path].requires_grad)
        for path, weight in plan.grow(weights).items()
    }


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
