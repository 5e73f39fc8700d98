"""A mixed op: several candidate modules in one place, one of them active."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

__all__ = ["MixedOp"]


class MixedOp(nn.Module):
    """Calls the active one of its candidates.

    Args:
        names: the names of the candidates, in the order of their codes.
        candidates: the modules.
    """

    def __init__(self, names: Sequence[str], candidates: Sequence[nn.Module]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.candidates = nn.ModuleList(candidates)
        self.active = 0

    def activate(self, code: int) -> None:
        """Makes the candidate with this code the active one."""
        self.active = code

    @property
    def active_candidate(self) -> nn.Module:
        """The active module."""
        return self.candidates[self.active]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the active candidate returns."""
        return self.candidates[self.active](*args, **kwargs)

    def extra_repr(self) -> str:
        """The names and the active one."""
        return f"{', '.join(self.names)}; active={self.names[self.active]}"
