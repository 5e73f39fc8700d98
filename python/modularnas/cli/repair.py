"""`modularnas repair`: puts what is readable of a damaged study's file in its place."""

from __future__ import annotations

import argparse
from typing import Any

from modularnas import _core
from modularnas.cli.arguments import add_command, print_json


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands, "repair", run, "put what is readable of a damaged study's file in its place", ["repair run.db"]
    )
    command.add_argument("file", help="the study's file; it is kept as FILE.damaged")
    command.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    kept, lost, damaged = _core.repair_study(options.file)
    if options.json:
        print_json({"kept": kept, "lost": lost, "damaged": str(damaged)})
        return
    print(f"{options.file}: {kept} trials kept, {lost} lost; the damaged file is now {damaged}")
