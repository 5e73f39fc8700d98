"""Rule `groups`."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform.kind import CONVOLUTIONS
from modularnas.transform.rules.rule import Rule, Where, different

__all__ = ["groups"]


def groups(*numbers: int, where: Where | None = None) -> Rule:
    """The number of groups of convolutions becomes a choice; all numbers share the kernel of the fewest groups.

    Opens every `Conv1d`, `Conv2d` and `Conv3d` whose number of groups is among `numbers`. More groups are the blocks on
    the diagonal of the shared kernel; beside the blocks of a given grouped convolution zeros are put, so that fewer
    groups start as the given function. Numbers that do not divide the channels are left out; widths around vary in
    steps that every number divides.

    Args:
        numbers: two or more numbers of groups, such as 1, 2, 4.
        where: which convolutions: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: for numbers that are no different positive integers.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU())
        >>> supernet = mn.rewrite(net, [mn.rules.groups(1, 2, 4)], example=torch.randn(1, 4, 8, 8))
        >>> mn.derive(supernet, {"0.groups": 4})[0].weight.shape
        torch.Size([8, 1, 3, 3])
    """
    if not different(numbers):
        raise RuleError(f"groups is given {numbers}; expected two or more different numbers, such as 1, 2, 4")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in numbers):
        raise RuleError(f"groups is given {numbers}; expected integers of 1 or more")

    def convolution(module: nn.Module) -> bool:
        return isinstance(module, CONVOLUTIONS)

    return Rule({"rule": "groups", "groups": list(numbers)}, convolution, where)
