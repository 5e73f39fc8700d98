"""Search algorithms as Python sees them: a name and settings; the native half does the search.

An algorithm written in Python is any object with `ask(context, count)` and `tell(context, finished)`; the laws that it
must keep are in `src/search/mod.rs` and are checked by `modularnas.testing`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from modularnas import _core

__all__ = ["Algorithm"]


class Algorithm:
    """A registered search algorithm with its settings.

    Attributes:
        name: the registered name.
        settings: all settings, defaults filled in.
    """

    name: ClassVar[str]

    def __init__(self, **settings: Any) -> None:
        self.settings: dict[str, Any] = _core.complete_settings(self.name, settings)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({settings})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Algorithm) and (self.name, self.settings) == (other.name, other.settings)

    def __hash__(self) -> int:
        return hash((self.name, repr(self)))
