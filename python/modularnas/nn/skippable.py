"""A block that may be left out: it then passes on what it is given."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from modularnas.nn.mixed import Paths, mixture

__all__ = ["Skippable"]


class _Input:
    """Stands for what is passed on."""


class Skippable(nn.Module):
    """Calls its block, or passes on the first tensor that it is given (Cai et al. 2020, arXiv 1908.09791, section 3.3).

    Args:
        block: the module.
        output: something that it returned, with one tensor in it.

    Attributes:
        active: whether the block is called.
        paths: while the supernet is relaxed, the weights of the block (code 0) and of passing on (code 1).
    """

    def __init__(self, block: nn.Module, output: Any) -> None:
        super().__init__()
        self.block = block
        self.active = True
        self.paths: Paths | None = None
        self._output = tree_map(lambda leaf: _Input() if isinstance(leaf, Tensor) else leaf, output)

    def activate(self, present: bool) -> None:
        """Calls the block if it is present."""
        self.active = present

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the block returns, or its first input in the same form; a weighted sum of both when relaxed."""
        if self.paths is not None:
            return mixture(
                self.paths, lambda code: self._pass_on(args, kwargs) if code else self.block(*args, **kwargs)
            )
        return self.block(*args, **kwargs) if self.active else self._pass_on(args, kwargs)

    def _pass_on(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        return tree_map(lambda leaf: given if isinstance(leaf, _Input) else leaf, self._output)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "paths": None}  # weights belong to one forward

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
