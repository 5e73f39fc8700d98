"""The sum of a branch and a shortcut, of which the blocks of several families are made."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Residual"]


class Residual(nn.Module):
    """`after(branch(x) + shortcut(x))`, any shape that the three agree on.

    The sum is never in place, so branches that end in an activation or in the input itself train.

    Args:
        branch: the module to learn.
        shortcut: the other way; None: the input as it is.
        after: what follows the sum; None: nothing.

    Example:
        >>> from modularnas.ops.residual import Residual
        >>> Residual(nn.Identity())(torch.ones(2))
        tensor([2., 2.])
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut or nn.Identity()
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        out: Tensor = self.after(self.branch(x) + self.shortcut(x))
        return out
