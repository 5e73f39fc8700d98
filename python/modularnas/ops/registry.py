"""The registry of candidate ops: name to a function from a slot to a module.

A name is either plain (`identity`) or one of a pattern (`conv_{k}x{k}[_d{dilation}]`): every name that the pattern
spells is known, `conv_11x11_d2` too, though only the usual ones are listed. Names that other libraries use are aliases.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops.aliases import ALIASES
from modularnas.ops.slot import Slot

__all__ = ["FEATURES", "FIELDS", "SPATIAL", "Build", "Op", "build", "describe", "find", "names", "register"]

Build = Callable[[Slot], nn.Module]
AnyBuild = TypeVar("AnyBuild", bound=Callable[..., nn.Module])

#: The kinds of input that an op may be for: `(N, C, L)`, `(N, C, H, W)`, `(N, C, D, H, W)`;
SPATIAL = ("1d", "2d", "3d")
#: `(N, D)` and `(N, L, D)`, where the features come last;
FEATURES = ("features", "sequence")
#: and `(N, fields, dim)`, of which one vector `(N, out_channels)` is made.
FIELDS = ("fields",)
_INPUTS = (*SPATIAL, *FEATURES, *FIELDS)


@dataclass(frozen=True)
class Op:
    """What is known of a candidate op before it is built.

    Attributes:
        name: its canonical name: of an alias, the name that it stands for.
        pattern: the pattern that spells the name; for a plain op, the name.
        family: the file of `modularnas.ops` that it comes from; "user" for ops registered elsewhere.
        description: one line.
        inputs: the kinds of input that it is for: "1d" `(N, C, L)`, "2d" `(N, C, H, W)`, "3d" `(N, C, D, H, W)`,
            "features" `(N, D)`, "sequence" `(N, L, D)`, "fields" `(N, fields, dim)`.
    """

    name: str
    pattern: str
    family: str
    description: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """What is registered under a name or a pattern; `spelling` is the pattern's regular expression."""

    pattern: str
    build: Callable[..., nn.Module]
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    spelling: re.Pattern[str] | None = None


_OPS: dict[str, _Entry] = {}


def register(
    name: str, *, names: Sequence[str] = (), inputs: Sequence[str] = ("2d",)
) -> Callable[[AnyBuild], AnyBuild]:
    """Registers a candidate op: a function (or module class) that builds a module from a `Slot`.

    Registering a name again replaces it, so that a notebook cell can be run twice. Where several patterns spell a name,
    the one registered last counts; a plain name counts before all.

    Args:
        name: the name; or a pattern, in which `{k}` is an integer of 1 or more (the same one wherever it stands),
            `{act:relu|silu}` one of the words, and `[...]` may be left out. The function gets them as keyword arguments
            next to the slot; `[_se]` gives `se=True`. What is left out is not given.
        names: of a pattern, the names that `names()` lists.
        inputs: the kinds of input that it is for, as in `mn.ops.describe`.

    Raises:
        RuleError: for a name that cannot be one, or an unknown kind of input.

    Example:
        >>> @mn.ops.register("conv_relu_{k}", names=["conv_relu_1", "conv_relu_3"])
        ... def conv_relu(slot, k):
        ...     "A convolution with kernel {k}, then ReLU."
        ...     conv = nn.Conv2d(slot.in_channels, slot.out_channels, k, stride=slot.stride, padding=k // 2)
        ...     return nn.Sequential(conv, nn.ReLU())
        >>> "conv_relu_3" in mn.ops.names()
        True
        >>> mn.ops.describe("conv_relu_5").description
        'A convolution with kernel 5, then ReLU.'
    """
    if not isinstance(name, str) or not name or name == "original":
        raise RuleError(f"an op is registered as {name!r}; expected a non-empty name other than 'original'")
    unknown = [kind for kind in inputs if kind not in _INPUTS]
    if unknown or isinstance(inputs, str):
        raise RuleError(f"the op {name!r} is registered for inputs={inputs!r}; expected some of {list(_INPUTS)}")
    try:
        spelling = re.compile(_spelling(name)) if re.search(r"[][{}]", name) else None
    except re.error as error:
        raise RuleError(
            f"the op {name!r} is no pattern ({error}); expected text, {{key}}, {{key:word|word}}, [flag] or [_d{{key}}]"
        ) from error
    for listed in names:
        if spelling is None or not spelling.fullmatch(listed):
            raise RuleError(f"the op {listed!r} is listed for {name!r}, which does not spell it")

    def add(build: AnyBuild) -> AnyBuild:
        _OPS.pop(name, None)  # the latest comes last, and is found first
        _OPS[name] = _Entry(name, build, tuple(inputs), (name,) if spelling is None else tuple(names), spelling)
        return build

    return add


def _spelling(pattern: str) -> str:
    """The regular expression of a pattern."""
    found = ""
    seen: set[str] = set()
    for part in re.findall(r"\[[^\]{]*\]|\{[^}]*\}|.", pattern):
        if part in "[]":
            found += "(?:" if part == "[" else ")?"
        elif part in "{}":
            raise re.error("a brace without its other half")
        elif part[0] == "[":
            found += f"(?P<{part[1:-1].strip('_')}>{re.escape(part[1:-1])})?"
        elif part[0] == "{":
            key, _, words = part[1:-1].partition(":")
            found += f"(?P={key})" if key in seen else f"(?P<{key}>{words or '[1-9][0-9]*'})"
            seen.add(key)
        else:
            found += re.escape(part)
    return found


def names(inputs: str | None = None) -> list[str]:
    """The names of all registered ops, sorted; of patterns, the usual ones.

    Args:
        inputs: only the ops for this kind of input: "1d", "2d", "3d", "features", "sequence" or "fields".

    Example:
        >>> "sep_conv_5x5" in mn.ops.names("2d"), "sep_conv_5x5" in mn.ops.names("sequence")
        (True, False)
    """
    if inputs is not None and inputs not in _INPUTS:
        raise RuleError(f"names is given inputs={inputs!r}; expected one of {list(_INPUTS)}")
    chosen = (entry for entry in _OPS.values() if inputs is None or inputs in entry.inputs)
    return sorted({name for entry in chosen for name in entry.names})


def find(name: str) -> Build:
    """The function behind a name, a spelling of a pattern, or an alias.

    Raises:
        RuleError: with near matches, if there is none.
    """
    _, entry, arguments = _look_up(name)
    return functools.partial(entry.build, **arguments) if arguments else entry.build


def describe(name: str) -> Op:
    """What an op is, without building it.

    Raises:
        RuleError: with near matches, if there is no such op.

    Example:
        >>> op = mn.ops.describe("max_pool_3x3")
        >>> op.family, op.description, op.inputs
        ('pool', 'Maximum over windows of 3.', ('1d', '2d', '3d'))
        >>> mn.ops.describe("MB5E6").name
        'mbconv_k5_e6'
    """
    known, entry, arguments = _look_up(name)
    text = (inspect.getdoc(entry.build) or "").partition("\n")[0]
    if entry.spelling is not None:
        more = [
            key if value is True else f"{key} {value}" for key, value in arguments.items() if f"{{{key}}}" not in text
        ]
        defaults = {p.name: p.default for p in inspect.signature(entry.build).parameters.values()}
        for key, value in {**defaults, **arguments}.items():
            text = text.replace(f"{{{key}}}", str(value))
        text = f"{text.rstrip('.')}; {', '.join(more)}." if more else text
    home = str(entry.build.__module__)
    family = home.rpartition(".")[2] if home.startswith("modularnas.ops.") else "user"
    return Op(known, entry.pattern, family, text, entry.inputs)


def _look_up(name: str) -> tuple[str, _Entry, dict[str, Any]]:
    """The canonical name, what is registered for it, and the arguments that the name gives."""
    if not isinstance(name, str):
        raise RuleError(f"an op is looked up as {name!r}; expected a name, such as 'conv_3x3'")
    found = _match(name) or _match(_unaliased(name))
    if found is None:
        near = difflib.get_close_matches(name, [*names(), *(alias for alias in ALIASES if "{" not in alias)], n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "mn.ops.names() lists them"
        raise RuleError(f"there is no candidate op {name!r}; {hint}")
    return found


def _match(name: str) -> tuple[str, _Entry, dict[str, Any]] | None:
    entry = _OPS.get(name)
    if entry is not None and entry.spelling is None:
        return name, entry, {}
    for entry in reversed(_OPS.values()):
        match = entry.spelling and entry.spelling.fullmatch(name)
        if match:
            given = {key: value for key, value in match.groupdict().items() if value is not None}
            return name, entry, {key: _value(key, value) for key, value in given.items()}
    return None


def _value(key: str, text: str) -> int | str | bool:
    if text.isdigit():
        return int(text)
    return True if text.strip("_") == key else text


def _unaliased(name: str) -> str:
    for alias, canonical in ALIASES.items():
        match = re.fullmatch(_spelling(alias), name)
        if match:
            return canonical.format(**match.groupdict())
    return name


def build(name: str, slot: Slot) -> nn.Module:
    """The module of an op for a slot.

    Raises:
        RuleError: if there is no such op, or it cannot be in this slot.

    Example:
        >>> mn.ops.build("conv_3x3", mn.Slot(3, 8, stride=2, bias=False))
        Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
    """
    return find(name)(slot)
