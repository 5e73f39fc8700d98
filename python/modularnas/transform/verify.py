"""Trying what a plan opens: the networks of small points run once on fake tensors before a decision is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from modularnas import _core
from modularnas.errors import NetworkError
from modularnas.train.strategy import settled
from modularnas.transform.candidates import shapes
from modularnas.transform.supernet import Supernet
from modularnas.transform.trace import Trace, evaluating, trace

__all__ = ["VERIFIED", "refused"]

#: Decisions that the user's own forward may not allow; each is tried before it is kept.
VERIFIED = ("width", "depth", "subset", "groups")


def refused(
    supernet: Supernet, plan: _core.RewritePlan, traced: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, str]:
    """The decisions, by name with the reason, at which the model's own forward fails or costs other than planned.

    A forward may have sizes written into it, which no data flow shows. So the networks of small points run once on
    fake tensors: with everything small and with every second decision small, and only if that fails with parts of it;
    each with every candidate op in its place, and every size of pictures.
    """
    original = supernet.original_point or supernet.space.sample(seed=0)
    given = supernet.space.indices([original])[0].tolist()
    tried: dict[str, str] = {}

    actions = {action["decision"]: action for action in plan.actions}
    others = {
        decision: len(supernet.space.decisions[decision].choices or ())
        for decision, action in actions.items()
        if action["action"] in ("choice", "resolution", "attributes")
    }

    def problem(decisions: Sequence[int]) -> str | None:
        for shift in range(max(others.values(), default=1)):
            codes = [max(code, 0) for code in given]
            for decision, n_codes in others.items():
                codes[decision] = (codes[decision] + shift) % n_codes
            for decision in decisions:
                codes[decision] = _smallest(actions[decision])
            point = supernet.space.point_at(settled(supernet.space, codes))
            if (found := _problem(supernet, point, traced, args, kwargs)) is not None:
                return found
        return None

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
    widths, depths = left("width") + left("subset") + left("groups"), left("depth")
    for parity in (0, 1):
        half = [[d for j, d in enumerate(group) if (i + j) % 2 == parity] for i, group in enumerate(widths)]
        search([group for group in half if group])
    if any(widths):
        search([group for group in depths if group])
    return tried


def _smallest(action: dict[str, Any]) -> int:
    if action["action"] == "width":
        sizes = action["channels"]
    elif action["action"] == "groups":
        sizes = [-groups for groups in action["groups"]]
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
    found, expected = shapes(seen.calls[""][-1].output), shapes(traced.calls[""][-1].output)
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
