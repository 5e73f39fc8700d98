"""Rule `depth`: how many blocks of a stage stay."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform.rules.rule import Rule, Where

__all__ = ["depth"]


def depth(min: int = 1, where: Where | None = None) -> Rule:
    """The number of blocks of each stage becomes a choice; the first ones stay (Once-for-All, arXiv 1908.09791).

    A stage is a run of sibling modules of one class that each add something to what they are given (a residual), such
    as the blocks of `layer1` of a ResNet or the layers of a transformer's encoder; its first block may change the
    shape. Decisions inside a block exist only while the block does.

    Args:
        min: the least number of blocks that stay, 1 or more.
        where: which blocks may be left out: a glob over module paths, a class, a predicate(path, module), or a list of
            these. Blocks without a residual are left out only if it names them.

    Raises:
        RuleError: if `min` is no positive integer.

    Example:
        >>> class Block(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.conv = nn.Conv2d(4, 4, 3, padding=1)
        ...     def forward(self, x):
        ...         return x + self.conv(x)
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(Block(), Block(), Block()))
        >>> supernet = mn.rewrite(net, [mn.rules.depth()], example=torch.randn(1, 3, 8, 8))
        >>> len(mn.derive(supernet, {"1.depth": 2})[1])
        2
    """
    if not isinstance(min, int) or isinstance(min, bool) or min < 1:
        raise RuleError(f"depth is given min={min!r}; expected an integer of 1 or more")

    def block(module: nn.Module) -> bool:
        return any(True for _ in module.children())

    return Rule({"rule": "depth", "min": min}, block, where)
