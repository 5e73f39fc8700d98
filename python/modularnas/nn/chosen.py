"""A list of modules of which some stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

__all__ = ["Chosen"]


class Chosen(nn.ModuleList):
    """A list that shows the modules that stay: it is as long as these and goes over these.

    Made from an `nn.ModuleList` by changing its class, so whoever has the list keeps it. `kept` are the positions of
    what stays, in order; all of them after `keep_all` (a relaxation weighs all).
    """

    kept: Sequence[int]

    def activate(self, present: Sequence[bool]) -> None:
        """Keeps the modules that are present, one bool a module."""
        self.kept = [position for position, here in enumerate(present) if here]

    def keep_all(self) -> None:
        """Keeps every module."""
        self.kept = range(len(self._modules))

    def __iter__(self) -> Iterator[nn.Module]:
        modules = list(self._modules.values())
        return iter([module for position in self.kept if (module := modules[position]) is not None])

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int | slice) -> nn.Module | nn.ModuleList:  # type: ignore[override]
        chosen = list(self)[index]
        return nn.ModuleList(chosen) if isinstance(chosen, list) else chosen

    def extra_repr(self) -> str:
        """What stays."""
        return f"kept={list(self.kept)}"
