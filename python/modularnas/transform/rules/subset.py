"""Rule `subset`: which modules of a list stay."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform.rules.rule import Rule, Where

__all__ = ["subset"]


def subset(take: int, where: Where) -> Rule:
    """Which modules of an `nn.ModuleList` stay becomes a choice, their number being given; the others are left out.

    For the input edges of a node in a cell (two of them stay in DARTS, arXiv 1806.09055, section 2.4). The model's
    forward must go over the list (`for edge in self.edges`) and give the same shape with `take` of the modules; so each
    module has to know what it reads. Lists that are no longer than `take` are left alone. Decisions inside of a module
    exist only while it stays.

    Args:
        take: how many stay, 1 or more.
        where: which lists: a glob over module paths, a predicate(path, module), or a list of these.

    Raises:
        RuleError: if `take` is no positive integer.

    Example:
        >>> class Sum(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.branches = nn.ModuleList(nn.Conv2d(4, 4, k, padding=k // 2) for k in (1, 3, 5))
        ...     def forward(self, x):
        ...         return sum(branch(x) for branch in self.branches)
        >>> supernet = mn.rewrite(Sum(), [mn.rules.subset(2, where="branches")], example=torch.randn(1, 4, 8, 8))
        >>> len(mn.derive(supernet, {"branches.subset": (0, 2)}).branches)
        2
    """
    if not isinstance(take, int) or isinstance(take, bool) or take < 1:
        raise RuleError(f"subset is given take={take!r}; expected an integer of 1 or more")
    return Rule({"rule": "subset", "take": take}, lambda module: type(module) is nn.ModuleList, where)
