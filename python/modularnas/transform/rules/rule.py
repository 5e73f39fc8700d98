"""What every rewrite rule is: data for the native half, and the modules that it is meant for."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops.registry import Build

__all__ = ["Name", "Rule", "Where", "different", "matches"]

#: The name of the decision at a place, from (path, module); places of one name are one decision.
Name = Callable[[str, nn.Module], str]
Where = str | type[nn.Module] | Callable[[str, nn.Module], bool] | Sequence[Any]


def matches(where: Where | None, path: str, module: nn.Module) -> bool:
    """Whether `where` names this module.

    Args:
        where: a glob over module paths (`"layer3.*"`; a star also crosses dots), a class, a predicate
            `(path, module) -> bool`, or a list of these (any of them); None names every module.
        path: the module's path.
        module: the module.
    """
    if where is None:
        return True
    if isinstance(where, str):
        return fnmatch.fnmatchcase(path, where)
    if isinstance(where, type):
        return isinstance(module, where)
    if isinstance(where, Sequence):
        return any(matches(part, path, module) for part in where)
    return bool(where(path, module))


def _check_where(where: Any) -> None:
    if isinstance(where, Sequence) and not isinstance(where, str):
        for part in where:
            _check_where(part)
    elif not (where is None or isinstance(where, str) or callable(where)):
        raise RuleError(
            f"where= is a {type(where).__name__}; expected a glob over module paths, a module class, "
            "a predicate(path, module) or a list of these"
        )


def different(choices: Sequence[Any], least: int = 2) -> bool:
    """Whether there are at least so many choices, none of them twice; they may be anything a user can give."""
    return len(choices) >= least and all(a != b for a, b in combinations(choices, 2))


@dataclass(frozen=True)
class Rule:
    """A rewrite rule, made by one of the functions of `mn.rules`.

    Attributes:
        data: the rule as the native half reads it.
        target: which modules it can be meant for at all.
        where: which of them the user means; None: all.
        candidates: for a rule that replaces, the candidate ops by name; None stands for the given module.
        decision: the names of its decisions; None: path and what varies.
        kind: for a rule that replaces modules of one kind by others of it, this kind; candidates that do not fit a
            place are left out there.
        sizes: for a rule that changes the sizes of pictures, the choices; each is run once.
        tie: patterns, the places of each of which vary together; `("",)`: all of them.
    """

    data: dict[str, Any]
    target: Callable[[nn.Module], bool]
    where: Where | None = None
    candidates: Mapping[str, Build | None] | None = None
    decision: Name | None = None
    kind: str | None = None
    sizes: tuple[tuple[int, ...], ...] | None = None
    tie: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_where(self.where)

    def named(self, decision: Name) -> Rule:
        """The rule with names for its decisions; places of one name are one decision and vary together.

        Args:
            decision: a function from (path, module) to the whole name of the decision there.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
            >>> kernel = mn.rules.kernel_size(3, 5).named(lambda path, module: "kernel")
            >>> mn.rewrite(net, [kernel], example=torch.randn(1, 3, 8, 8)).space.sample(seed=0)
            Point({'kernel': 5})
        """
        return replace(self, decision=decision)

    def applied(self, modules: Mapping[str, nn.Module]) -> dict[str, Any]:
        """The rule with the paths of the modules, of all of a model by path, that it is meant for."""
        targets = [
            path for path, module in modules.items() if self.target(module) and matches(self.where, path, module)
        ]
        named = self.decision
        tied = {
            path: pattern
            for path, module in modules.items()
            for pattern in self.tie[::-1]  # the first that matches counts
            if matches(pattern or None, path, module)
        }
        return {
            **self.data,
            "targets": targets,
            "named": self.where is not None,
            "decisions": {path: named(path, modules[path]) for path in targets} if named else {},
            "tied": tied,
            "unfit": {},
        }
