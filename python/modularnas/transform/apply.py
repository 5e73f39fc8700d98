"""Rewriting: a model and rules become a weight-sharing supernet."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from modularnas import _core
from modularnas.errors import NetworkError, RuleError
from modularnas.nn import (
    Chosen,
    Cut,
    Diagonal,
    Elastic,
    MaskedMixedOp,
    MaskedNorm,
    MaskedSkippable,
    MixedOp,
    Setting,
    Skippable,
    elastic,
)
from modularnas.nn.fuse import fuse as fuse_forms
from modularnas.transform import candidates, sizes, verify
from modularnas.transform.duplicate import duplicate, without_collection
from modularnas.transform.rules.rule import Rule
from modularnas.transform.supernet import Supernet
from modularnas.transform.trace import Call, Example, Trace, call_arguments, joined, trace

__all__ = ["rewrite"]


@without_collection()
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
    own = dict(model.named_modules())
    applied = [rule.applied(own) for rule in rules]
    choices = candidates.build(model, rules, applied, traced)
    for rule, data in zip(rules, applied, strict=True):
        if rule.sizes is not None:
            data.update(sizes.variants(model, rule, data, traced, choices, args, kwargs))
    plan = _core.plan_rewrite(traced.network, applied)
    frozen = [path for data in applied if data["rule"] == "freeze" for path in data["targets"]]
    verified = any(action["action"] in verify.VERIFIED for action in plan.actions)
    while True:
        grown = _grown({**candidates.modules_of(choices), **own}, plan)
        if inplace and not verified:
            break
        # In a copy first, so that a given model is changed only by what works.
        # What is replaced by a larger tensor needs no copy.
        tensors = [*model.parameters(), *model.buffers()] if inplace else [given for given, _, _ in grown]
        copied = duplicate(model, {id(tensor): tensor for tensor in tensors})
        supernet = _supernet(copied, plan, choices, traced, mode, fuse, grown, [] if inplace else frozen)
        refused = verify.refused(supernet, plan, traced, args, kwargs)
        if not refused:
            if not inplace:
                return supernet
            break
        plan = plan.without(refused)
    return _supernet(model, plan, choices, traced, mode, fuse, grown, frozen)


#: What no mask can say, since every point has one shape in that mode.
UNMASKED = {
    "subset": "is a list of which some modules stay",
    "groups": "has several numbers of groups",
    "resolution": "has inputs of several sizes",
    "stride": "has several strides",
}


def _supernet(
    model: nn.Module,
    plan: _core.RewritePlan,
    choices: candidates.Choices,
    traced: Trace,
    mode: str,
    fuse: bool,
    grown: Sequence[tuple[Tensor, Sequence[tuple[str, str]], Tensor]],
    frozen: Sequence[str],
) -> Supernet:
    """Puts into a model, in place, what a plan opens."""
    _check_conditions(plan, traced)
    choices = candidates.copied(choices)
    own = dict(model.named_modules())
    order = {path: own[path] for path in traced.calls}
    modules = {**candidates.modules_of(choices), **own}
    for _, holders, tensor in grown:
        for path, name in holders:
            setattr(modules[path], name, tensor)
    for path in frozen:
        modules[path].requires_grad_(False)
    parts = _make_elastic(modules, plan, traced, mode)
    switches: list[list[tuple[Any, Sequence[Any]]]] = [[] for _ in plan.space.decisions]
    fusable: list[MixedOp] = []
    placed: dict[nn.Module, nn.Module] = {}
    for action in plan.actions:
        path = action["path"]
        what = UNMASKED.get(action["action"] if action["action"] != "attributes" else action["attributes"][0]["name"])
        if mode == "masked" and what is not None:
            raise RuleError(f"'{path}' {what}, which no mask can say; use mode=\"sliced\"")
        if action["action"] == "choice":
            given, names = modules[path], action["candidates"]
            kind = MaskedMixedOp if mode == "masked" else MixedOp
            mixed = kind(names, [choices[path][name] or given for name in names])
            mixed.training = given.training
            placed[given] = mixed
            if all(isinstance(call.output, Tensor) for call in traced.calls[path]):
                fusable.append(mixed)
            switches[action["decision"]].append((mixed, range(len(names))))
    for action in plan.actions:
        if action["action"] == "subset":
            chosen = modules[action["path"]]
            chosen.__class__ = Chosen
            codes = zip(*(present for _, present in action["blocks"]), strict=True)
            switches[action["decision"]].append((chosen, list(codes)))
        if action["action"] == "depth":
            for path, present in action["blocks"]:
                if all(present):
                    continue
                given = modules[path]
                # What is replaced and may be left out is left out as a whole.
                skippable = MaskedSkippable if mode == "masked" else Skippable
                block = skippable(placed.get(given, given), traced.calls[path][0].output)
                block.training = given.training
                switches[action["decision"]].append((block, present))
                placed[given] = block
    # Innermost first: what an outer module holds is replaced before the outer module is.
    for given in reversed([module for module in own.values() if module in placed]):
        model = _put(model, given, placed[given])
    inside = _inside(switches, parts) if mode == "masked" else []
    shared = fuse_forms(fusable) if fuse and mode == "sliced" else None
    return Supernet(model, plan, switches, parts, mode=mode, inside=inside, order=order, shared=shared)


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


def _make_elastic(
    modules: Mapping[str, nn.Module], plan: _core.RewritePlan, traced: Trace, mode: str
) -> dict[str, Elastic]:
    """Makes every module elastic of which a part may stay, or an attribute may change."""
    cuts: dict[str, list[Cut]] = {}
    for cut in plan.cuts:
        runs = [(run["decision"], [tuple(r) for r in run["ranges"]], tuple(run["inactive"])) for run in cut["runs"]]
        for path, name in cut["holders"]:
            cuts.setdefault(path, []).append(Cut(name, cut["dim"], runs))
    diagonals: dict[str, list[Diagonal]] = {}
    for kernel in plan.diagonals:
        for path, name in kernel["holders"]:
            diagonals.setdefault(path, []).append(Diagonal(name, kernel["decision"], kernel["groups"], kernel["given"]))
    paddings: dict[str, Any] = {}
    settings: dict[str, list[Setting]] = {}
    for action in plan.actions:
        if action["action"] == "kernel":
            of_code = [p and tuple(p) for p in action["paddings"] or [None] * len(action["sizes"])]
            paddings[action["path"]] = (action["decision"], of_code)
        for path, setting in _settings(action, modules):
            settings.setdefault(path, []).append((action["decision"], setting))
    parts = {}
    for path in dict.fromkeys([*cuts, *diagonals, *settings]):
        module = modules[path]
        if isinstance(module, nn.MultiheadAttention):
            arguments = _arguments(traced.calls[path][0])
            mask = arguments["attn_mask"]
            called = {name: value for name, value in arguments.items() if not isinstance(value, Tensor)}
            module.__dict__.update(called=called, boolean=mask is not None and mask.dtype == torch.bool)
        parts[path] = elastic(
            module, cuts.get(path, ()), paddings.get(path), mode, diagonals.get(path, ()), settings.get(path, ())
        )
    return parts


def _arguments(call: Call) -> dict[str, Any]:
    """The arguments of a call of an attention by name, defaults included."""
    bound = inspect.signature(nn.MultiheadAttention.forward).bind(None, *call.args, **call.kwargs)
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name != "self"}


def _settings(action: dict[str, Any], modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """For each module whose attributes a decision sets: its path, and the attributes at each code."""
    if action["action"] == "groups":
        yield action["path"], [{"groups": groups} for groups in action["groups"]]
    for attribute in action.get("attributes", ()):
        values = [tuple(v) if isinstance(v, list) else v for v in attribute["values"]]
        by_code = [{attribute["name"]: value} for value in values]
        module = modules[attribute["path"]]
        if isinstance(module, nn.MultiheadAttention):
            # Torch's layers around it must not hand its weights to a kernel that knows no fewer heads.
            for setting in by_code:
                setting["_qkv_same_embed_dim"] = setting["num_heads"] == module.num_heads and module._qkv_same_embed_dim
        yield attribute["path"], by_code


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


def _grown(
    modules: Mapping[str, nn.Module], plan: _core.RewritePlan
) -> list[tuple[Tensor, Sequence[tuple[str, str]], Tensor]]:
    """Parameters and buffers with a larger choice than the given one: the given, who holds it, and the larger."""
    holders: dict[str, Sequence[tuple[str, str]]] = {}
    for action in plan.actions:
        if action["action"] in ("kernel", "groups"):
            holders[joined(action["path"], "weight")] = [(action["path"], "weight")]
    for cut in plan.cuts:
        if cut["content"] != "window":
            holders[joined(*cut["holders"][0])] = cut["holders"]
    tensors: dict[str, Tensor] = {path: getattr(modules[of[0][0]], of[0][1]) for path, of in holders.items()}
    grown = []
    for path, larger in plan.grow(tensors).items():
        given, made = tensors[path], larger.contiguous()
        if isinstance(given, nn.Parameter):
            made = nn.Parameter(made, requires_grad=given.requires_grad)
        grown.append((given, holders[path], made))
    return grown


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
