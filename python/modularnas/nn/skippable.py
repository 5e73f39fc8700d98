"""A block that may be left out: it then passes on what it is given."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["Skippable"]


class _Input:
    """Stands for what is passed on."""


class Skippable(nn.Module):
    """Calls its block, or passes on the first tensor that it is given (Cai et al. 2020, arXiv 1908.09791, section 3.3).

    Args:
        block: the module.
        output: something that it returned, with one tensor in it.
    """

    def __init__(self, block: nn.Module, output: Any) -> None:
        super().__init__()
        self.block = block
        self.active = True
        self._output = tree_map(lambda leaf: _Input() if isinstance(leaf, Tensor) else leaf, output)

    def activate(self, present: bool) -> None:
        """Says whether the block is part of the network."""
        self.active = present

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the block returns, or its first input in the same form."""
        if self.active:
            return self.block(*args, **kwargs)
        given = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        return tree_map(lambda leaf: given if isinstance(leaf, _Input) else leaf, self._output)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            block = self.__dict__.get("_modules", {}).get("block")
            if block is None or name.startswith("__"):
                raise
            return getattr(block, name)

    def extra_repr(self) -> str:
        """Whether it is left out."""
        return "" if self.active else "left out"
