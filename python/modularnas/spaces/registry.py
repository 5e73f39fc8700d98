"""The registry of ready spaces: name to a function that gives a model, its rules and an example input."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import nn

from modularnas.errors import SpaceError
from modularnas.transform import Supernet, rewrite
from modularnas.transform.rules import Rule
from modularnas.transform.trace import Example

__all__ = ["Parts", "create", "names", "register"]

#: What a space is made of: the model, what may vary in it, and an input of it.
Parts = tuple[nn.Module, Sequence[Rule], Example]
AnyBuild = TypeVar("AnyBuild", bound=Callable[..., Parts])

_SPACES: dict[str, Callable[..., Parts]] = {}


def register(name: str) -> Callable[[AnyBuild], AnyBuild]:
    """Registers a ready space: a function of settings (keyword arguments) that gives (model, rules, example).

    Registering a name again replaces it.

    Example:
        >>> @mn.spaces.register("two_layers")
        ... def two_layers(num_classes=10):
        ...     net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, num_classes))
        ...     return net, [mn.rules.width(0.5, 1.0)], torch.randn(1, 16)
        >>> mn.spaces.create("two_layers", num_classes=2)[0].space.size
        2
    """

    def add(build: AnyBuild) -> AnyBuild:
        _SPACES[name] = build
        return build

    return add


def names() -> list[str]:
    """The names of all ready spaces, sorted."""
    return sorted(_SPACES)


def create(
    name: str,
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    fuse: bool = True,
    **settings: Any,
) -> tuple[Supernet, Any]:
    """Makes a ready space.

    Args:
        name: one of `mn.spaces.names()`.
        num_classes: classes of the output; None: as published.
        image_size: height and width of the pictures, in pixels; None: as published.
        fuse: as in `mn.rewrite`.
        **settings: others of the space, as its file says.

    Returns:
        The supernet, and an example input of it: one picture, sequence or row, so that costs are those of one.

    Raises:
        SpaceError: for an unknown name or setting, saying which there are.

    Example:
        >>> supernet, x = mn.spaces.create("darts", num_classes=10, image_size=16, channels=4, layers=3)
        >>> supernet(x).shape
        torch.Size([1, 10])
    """
    build = _SPACES.get(name)
    if build is None:
        near = difflib.get_close_matches(name, names(), n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(names())}"
        raise SpaceError(f"there is no ready space {name!r}; {hint}")
    given = {"num_classes": num_classes, "image_size": image_size}
    settings |= {key: value for key, value in given.items() if value is not None}
    known = inspect.signature(build).parameters
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise SpaceError(f"the space {name!r} is given {', '.join(unknown)}; its settings are {', '.join(known)}")
    model, rules, example = build(**settings)
    return rewrite(model, rules, example=example, fuse=fuse), example
