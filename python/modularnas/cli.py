"""The command line: `modularnas demo | algorithms | ops | show | repair`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from modularnas import __version__, _core, ops, search
from modularnas.errors import ModularNASError, StorageError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status. Errors of ours are one line on stderr, without a traceback."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except ModularNASError as error:
        print(f"modularnas: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("modularnas: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modularnas", description="Neural architecture search for PyTorch models.")
    parser.add_argument("--version", action="version", version=f"modularnas {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser(
        "demo",
        help="search a ResNet-18 on real pictures, end to end",
        epilog="examples: modularnas demo; modularnas demo --data cifar10 cifar-10-batches-py --device cuda",
    )
    demo.add_argument(
        "--data", nargs="+", default=["digits"], metavar=("NAME", "PATH"), help="digits (default), or cifar10 PATH"
    )
    demo.add_argument("--out", default="runs/demo", help="folder for results (default: %(default)s)")
    demo.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument("--epochs", type=int, help="epochs of the supernet")
    demo.add_argument("--trials", type=int, help="candidates of each search")
    demo.add_argument("--image-size", type=int, default=32, help="CIFAR-10 pictures are resized to it (default: 32)")
    demo.add_argument("--n-train", type=int, help="how many CIFAR-10 pictures to train on (default: all)")
    demo.add_argument("--smoke", action="store_true", help="as little of everything as runs through")
    demo.set_defaults(command=_demo)

    listing = commands.add_parser("algorithms", help="list the search algorithms and their settings")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(command=_algorithms)

    listing = commands.add_parser("ops", help="list the candidate ops, what they are and for which inputs")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(command=_ops)

    show = commands.add_parser("show", help="show the trials of a study's file; never blocks a running study")
    show.add_argument("file")
    show.add_argument("--json", action="store_true", help="for programs")
    show.set_defaults(command=_show)

    repair = commands.add_parser("repair", help="put what is readable of a damaged study's file in its place")
    repair.add_argument("file")
    repair.set_defaults(command=_repair)
    return parser


def _demo(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from modularnas import demo

    name, *rest = options.data
    if name == "digits" and not rest:
        pictures = demo.load_digits()
    elif name == "cifar10" and len(rest) == 1:
        pictures = demo.load_cifar10(rest[0], n_train=options.n_train, image_size=options.image_size)
    else:
        raise ModularNASError(f"--data is {' '.join(options.data)}; expected digits, or cifar10 PATH")
    plan = demo.Plan()
    if options.smoke:
        plan = demo.Plan(epochs=1, fine_tune_epochs=1, trials=4, population=2, n_calibration=1)
        pictures = pictures.first(64)
    if options.epochs is not None:
        plan = replace(plan, epochs=options.epochs)
    if options.trials is not None:
        plan = replace(plan, trials=options.trials)
    if plan.epochs < 1 or plan.trials < 1:
        raise ModularNASError(f"--epochs is {plan.epochs} and --trials is {plan.trials}; expected 1 or more of each")
    demo.run(pictures, options.out, device=options.device, plan=plan, seed=options.seed)


def _algorithms(options: argparse.Namespace) -> None:
    table: dict[str, Any] = {name: search.create(name).settings for name in search.names()}
    if options.json:
        print(json.dumps(table, indent=2))
        return
    for name, settings in table.items():
        print(f"{name:26}{', '.join(f'{key}={value!r}' for key, value in settings.items())}")


def _ops(options: argparse.Namespace) -> None:
    found = [ops.describe(name) for name in ops.names()]
    if options.json:
        table = {op.name: {"family": op.family, "description": op.description, "inputs": op.inputs} for op in found}
        print(json.dumps(table, indent=2))
        return
    for op in found:
        print(f"{op.name:26}{op.family:16}{op.description} [{', '.join(op.inputs)}]")


def _show(options: argparse.Namespace) -> None:
    study, trials = _read_study(options.file)
    if options.json:
        print(json.dumps({"study": study, "trials": trials}, indent=2))
        return
    print(f"{options.file}: {study['algorithm']}, seed {study['seed']}, {len(trials)} trials")
    for trial in trials:
        values = ", ".join(f"{name} {value:.6g}" for name, value in trial["values"].items() if value is not None)
        print(f"{trial['number']:6d} {trial['state']:9} {values or trial['error'] or ''}".rstrip())


def _repair(options: argparse.Namespace) -> None:
    kept, lost, damaged = _core.repair_study(options.file)
    print(f"{options.file}: {kept} trials kept, {lost} lost; the damaged file is now {damaged}")


def _read_study(file: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A study's settings and trials, read beside a process that may be writing."""
    import sqlite3
    from contextlib import closing
    from pathlib import Path

    if not Path(file).is_file():
        raise StorageError(f"'{file}' does not exist; expected the storage file of a study")
    try:
        with closing(sqlite3.connect(f"{Path(file).resolve().as_uri()}?mode=ro", uri=True)) as db:
            study = dict(db.execute("SELECT key, value FROM study"))
            rows = db.execute("SELECT number, state, point, metrics, error FROM trials ORDER BY number").fetchall()
    except sqlite3.DatabaseError as error:
        raise StorageError(f"'{file}' is no study: {error}") from error
    trials = [
        {
            "number": number,
            "state": state,
            "point": json.loads(point),
            "values": json.loads(metrics) if metrics else {},
            "error": reason,
        }
        for number, state, point, metrics, reason in rows
    ]
    return study, trials
