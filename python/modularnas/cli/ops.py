"""`modularnas ops`."""

from __future__ import annotations

import argparse
from typing import Any

from modularnas import ops
from modularnas.cli.arguments import add_command, print_json


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands, "ops", run, "list the candidate ops, what they are and for which inputs", ["ops", "ops --json"]
    )
    command.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    found = [ops.describe(name) for name in ops.names()]
    if options.json:
        print_json({op.name: {"family": op.family, "description": op.description, "inputs": op.inputs} for op in found})
        return
    for op in found:
        print(f"{op.name:26}{op.family:16}{op.description} [{', '.join(op.inputs)}]")
