"""The command line, `modularnas COMMAND`.

One command is one file: `add(commands)` says its arguments, `run(options)` does it. Copy `ops.py`; the list below makes
it known. The room knows all others, and nobody knows it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from modularnas import __version__
from modularnas.cli import (
    algorithms,
    benchmark,
    completion,
    demo,
    export,
    ops,
    repair,
    report,
    run,
    search,
    show,
    spaces,
    task,
    tune,
)
from modularnas.errors import ModularNASError

__all__ = ["main", "parser"]

_COMMANDS = (
    demo,
    run,
    tune,
    search,
    show,
    report,
    repair,
    export,
    algorithms,
    ops,
    spaces,
    task,
    benchmark,
    completion,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status. Errors of ours are one line on stderr, without a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    cut = given.index("--") if "--" in given else len(given)
    root = parser()
    options = root.parse_args(given[:cut])
    options.rest = given[cut + 1 :]
    if options.rest and options.name != "tune":
        root.error(f"{options.name} takes no arguments after --")
    try:
        return int(options.command(options) or 0)
    except ModularNASError as error:
        print(f"modularnas: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("modularnas: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has enough
        sys.stderr.close()
        return 0


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    root = argparse.ArgumentParser(prog="modularnas", description="Neural architecture search for PyTorch models.")
    root.add_argument("--version", action="version", version=f"modularnas {__version__}")
    commands = root.add_subparsers(required=True, metavar="COMMAND", dest="name")
    for command in _COMMANDS:
        command.add(commands)
    return root
