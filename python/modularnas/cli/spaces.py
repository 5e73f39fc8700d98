"""`modularnas spaces`."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from modularnas import spaces
from modularnas.cli.arguments import add_command, print_json


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "spaces",
        run,
        "list the ready spaces; with a name, build one and say how large it is",
        ["spaces", "spaces mobilenet_v2 --json"],
    )
    command.add_argument("space", nargs="?", metavar="NAME", help="one of them")
    command.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    if options.space is None:
        table = {name: _about(name) for name in spaces.names()}
        if options.json:
            print_json(table)
        for name, text in () if options.json else table.items():
            print(f"{name:20}{text}")
        return
    supernet, example = spaces.create(options.space)
    space = supernet.space
    facts = {
        "decisions": len(space),
        "points": space.size,
        "example": list(example.shape) if hasattr(example, "shape") else None,
        "n_params": sum(parameter.numel() for parameter in supernet.parameters()),
        "bounds": {metric: list(space.bounds(metric)) for metric in space.metrics},
    }
    if options.json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name:12}{value}")


def _about(name: str) -> str:
    """The first line of the space's file."""
    module = inspect.getmodule(spaces.registry._SPACES[name])
    text = inspect.getdoc(module) or ""
    return text.splitlines()[0].partition(":")[2].strip() if text else ""
