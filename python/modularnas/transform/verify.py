"""Trying what a plan opens: the networks of small points run once on fake tensors before a decision is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from modularnas import _core
from modularnas.errors import NetworkError
from modularnas.transform.candidates import shapes
from modularnas.transform.supernet import Supernet
from modularnas.transform.trace import Trace, trace

__all__ = ["refused"]

#: Decisions that the user's own forward may not allow; each is tried before it is kept.
VERIFIED = ("width", "depth", "groups")


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
    actions: dict[int, dict[str, Any]] = {}
    for action in plan.actions:
        actions.setdefault(action["decision"], action)
    others = {
        decision: len(supernet.space.decisions[decision].choices or ())
        for decision, action in actions.items()
        if action["action"] in ("choice", "resolution", "attributes")
    }

    def problem(decisions: Sequence[int]) -> str | None:
        for shift in range(max(others.values(), default=1)):
            codes = [
                (max(code, 0) + shift) % others[i] if i in others else max(code, 0) for i, code in enumerate(given)
            ]
            for decision in decisions:
                codes[decision] = _smallest(actions[decision])
            point = supernet.space.point_at(_settled(supernet.space, codes))
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

    alike: dict[str, list[int]] = {}
    for decision, action in actions.items():
        if action["action"] in VERIFIED:
            pattern = re.sub(r"\d+", "*", supernet.space.decisions[decision].name)
            alike.setdefault(pattern, []).append(decision)
    search(list(alike.values()))
    # What only works if others are small as well shows when every second one is.
    for parity in (0, 1):
        half = [
            [d for j, d in enumerate(group) if (i + j) % 2 == parity and supernet.space.decisions[d].name not in tried]
            for i, group in enumerate(alike.values())
        ]
        search([group for group in half if group])
    return tried


def _settled(space: _core.SearchSpace, codes: list[int]) -> list[int]:
    """The codes without those of decisions that they make inactive; a parent comes before its children."""
    index = {decision.name: i for i, decision in enumerate(space.decisions)}
    for i, decision in enumerate(space.decisions):
        if decision.active_if is not None:
            name, values = decision.active_if
            parent = index[name]
            choices = space.decisions[parent].choices
            assert choices is not None
            if codes[parent] < 0 or choices[codes[parent]] not in values:
                codes[i] = -1
    return codes


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
    return None
