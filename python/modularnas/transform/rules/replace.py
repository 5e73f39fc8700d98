"""Rules `replace` and `slots`: one of several candidate ops takes the place of a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops import registry
from modularnas.ops.registry import Build
from modularnas.ops.slot import Slot
from modularnas.transform.rules.rule import Rule, Where

__all__ = ["replace", "slots"]

Candidate = str | type[nn.Module] | Callable[[Slot], nn.Module]


def replace(
    target: type[nn.Module] | tuple[type[nn.Module], ...],
    candidates: Sequence[Candidate],
    where: Where | None = None,
) -> Rule:
    """Modules of a class become a choice between candidate ops.

    A candidate is the name of an op (`mn.ops.names()`, or any that a pattern of `docs/ops.md` spells), a function
    `f(slot) -> nn.Module`, a module class (called with the slot, or without arguments if it needs none, such as
    `nn.SiLU`), or `"original"`: the given module itself. Every candidate must give the shape that the given module
    gives.

    Args:
        target: the class, or a tuple of classes.
        candidates: one or more candidates with different names.
        where: which of the modules: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: for unknown ops (with near matches) or names given twice.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> convs = mn.rules.replace(nn.Conv2d, ["original", "dw_conv_3x3"])
        >>> rules = [convs, mn.rules.replace(nn.ReLU, [nn.ReLU, nn.SiLU])]
        >>> mn.rewrite(net, rules, example=torch.randn(1, 3, 8, 8)).space.size
        4
    """
    classes = target if isinstance(target, tuple) else (target,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
            raise RuleError(
                f"replace is given {cls!r} as its target; expected a torch.nn.Module class or a tuple of them"
            )
    return _rule("replace", lambda module: isinstance(module, classes), candidates, where)


def slots(candidates: Sequence[Candidate], where: Where | None = None) -> Rule:
    """The `mn.Slot` placeholders of a model become a choice between candidate ops.

    Args:
        candidates: as in `replace`; there is no `"original"`.
        where: which slots: a glob over module paths, a predicate(path, slot), or a list of these.

    Raises:
        RuleError: for unknown ops (with near matches) or names given twice.

    Example:
        >>> net = nn.Sequential(mn.Slot(3, 8), nn.ReLU())
        >>> mn.rewrite(net, [mn.rules.slots(["conv_3x3", "conv_5x5"])], example=torch.randn(1, 3, 8, 8)).space.size
        2
    """
    if isinstance(candidates, Sequence) and "original" in candidates:
        raise RuleError('slots is given the candidate "original"; a slot has none, leave it out')
    return _rule("slots", lambda module: isinstance(module, Slot), candidates, where)


def _rule(name: str, target: Callable[[nn.Module], bool], candidates: Sequence[Candidate], where: Where | None) -> Rule:
    if isinstance(candidates, str) or not isinstance(candidates, Sequence) or not candidates:
        raise RuleError(f"{name} is given {candidates!r} as candidates; expected a list of one or more ops")
    builds: dict[str, Build | None] = {}
    for candidate in candidates:
        label, build = _named(name, candidate)
        if label in builds:
            raise RuleError(f"{name} is given the candidate {label!r} twice; give one of them another __name__")
        builds[label] = build
    return Rule({"rule": "replace", "candidates": list(builds)}, target, where, builds)


def _named(name: str, candidate: Candidate) -> tuple[str, Build | None]:
    if candidate == "original":
        return "original", None
    if isinstance(candidate, str):
        return candidate, registry.find(candidate)
    if not callable(candidate):
        raise RuleError(
            f"{name} is given the candidate {candidate!r}; "
            "expected the name of an op, a function of a slot, a module class or 'original'"
        )
    label = getattr(candidate, "__name__", type(candidate).__name__)
    if isinstance(candidate, type) and not _needs_an_argument(candidate):
        return label, lambda slot: candidate()
    return label, candidate


def _needs_an_argument(cls: type) -> bool:
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in inspect.signature(cls).parameters.values()
    )
