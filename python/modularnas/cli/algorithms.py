"""`modularnas algorithms`."""

from __future__ import annotations

import argparse
from typing import Any

from modularnas import search
from modularnas.cli.arguments import add_command, print_json


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "algorithms",
        run,
        "list the search algorithms and their settings",
        ["algorithms", "algorithms --json"],
    )
    command.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    table: dict[str, Any] = {name: search.create(name).settings for name in search.names()}
    if options.json:
        print_json(table)
        return
    for name, settings in table.items():
        print(f"{name:26}{', '.join(f'{key}={value!r}' for key, value in settings.items())}")
