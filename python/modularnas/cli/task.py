"""`modularnas task`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from modularnas import tasks
from modularnas.cli.arguments import add_command, print_json, setting


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "task",
        run,
        "run a task on data: baseline, random networks, supernet, search, the network found, a card",
        [
            "task voice --data fsdd_8k.npz --out runs/voice --smoke",
            "task image --data cifar-10-batches-py --out runs/image --set space=resnet --set depth=20 --plan epochs=30",
        ],
    )
    command.add_argument("task", choices=tasks.names(), help="which")
    command.add_argument("--data", metavar="PATH", required=True, help="file or folder that it reads")
    command.add_argument("--out", type=Path, metavar="FOLDER", required=True, help="for the card and the network")
    command.add_argument("--smoke", action="store_true", help="as little of everything as runs through")
    command.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    command.add_argument("--device", default="cpu", help="where to train (default: %(default)s)")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the task or its space; repeatable",
    )
    command.add_argument(
        "--plan", action="append", default=[], metavar="NAME=N", help="of epochs, trials and so on; repeatable"
    )
    command.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    settings = dict(setting(text) for text in options.set)
    result = tasks.run(
        options.task,
        data=options.data,
        out=options.out,
        smoke=options.smoke,
        seed=options.seed,
        device=options.device,
        plan=dict(setting(text) for text in options.plan),
        progress=not options.json,
        **settings,
    )
    if options.json:
        print_json({"table": result.table, "architecture": json.loads(result.point.to_json())})
        return
    print(result)
    print(f"\n{result.folder / 'card.md'}, {result.folder / 'best' / 'model.py'}; {result.seconds:.0f} s")
