"""Rule `kernel_size`."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform.rules.rule import Rule, Where, different

__all__ = ["kernel_size"]


def kernel_size(*sizes: int, where: Where | None = None) -> Rule:
    """The kernel size of convolutions becomes a choice; all sizes share one weight.

    Opens every `Conv1d`, `Conv2d` and `Conv3d` whose kernel is square and among `sizes` (1x1 only if `where` names
    it). Every size is the centre of the largest (Once-for-All, arXiv 1908.09791, section 3.3); the given weight is its
    centre and zeros surround it, so every choice starts as the given function. Padding follows the size; sizes
    that would change the output's shape are left out.

    Args:
        sizes: two or more different sizes, in pixels.
        where: which convolutions: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: for sizes that are no different positive integers.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2))
        >>> mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7)], example=torch.randn(1, 3, 8, 8)).space.size
        9
    """
    if not different(sizes):
        raise RuleError(f"kernel_size is given {sizes}; expected two or more different sizes, such as 3, 5, 7")
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in sizes):
        raise RuleError(f"kernel_size is given {sizes}; expected integers of 1 or more")

    def convolution(module: nn.Module) -> bool:
        return isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))

    return Rule({"rule": "kernel_size", "sizes": list(sizes)}, convolution, where)
