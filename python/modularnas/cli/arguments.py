"""What several commands have: examples in the help, `--json`, `name=value` pairs, objectives and constraints."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from modularnas.errors import ModularNASError, StudyError

__all__ = ["add_command", "constraint", "objective", "print_json", "setting"]


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], text: str, examples: Sequence[str]
) -> argparse.ArgumentParser:
    """A command with a description and examples in its `--help`."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog="examples:\n" + "\n".join(f"  modularnas {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(command=run)
    return command


def print_json(data: Any) -> None:
    """Data for programs."""
    print(json.dumps(data, indent=2))


def setting(text: str) -> tuple[str, Any]:
    """`name=value`, the value read as JSON where it is, else as text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ModularNASError(f"'{text}'; expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def objective(text: str) -> tuple[str, str]:
    """`accuracy=max`, or `accuracy` alone."""
    name, _, direction = text.partition("=")
    if direction not in ("", "max", "min"):
        raise StudyError(f"objective '{text}'; expected NAME=max or NAME=min")
    return name, direction or "max"


def constraint(text: str) -> tuple[str, tuple[float | None, float | None]]:
    """`macs<=3e8`, `accuracy>=0.9` or `1e8<=macs<=3e8`."""
    match = re.fullmatch(r"(?:([\d.eE+-]+)<=)?(\w+)(?:(<=|>=)([\d.eE+-]+))?", text.replace(" ", ""))
    try:
        if match is None or not (match[1] or match[4]):
            raise ValueError
        low = float(match[1]) if match[1] else None
        bound = float(match[4]) if match[4] else None
    except ValueError:
        raise StudyError(f"constraint '{text}'; expected such as 'macs<=3e8' or '1e8<=macs<=3e8'") from None
    return match[2], (bound, None) if match[3] == ">=" else (low, bound)
