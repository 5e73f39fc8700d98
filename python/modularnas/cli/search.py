"""`modularnas search`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from modularnas import SearchSpace, Study
from modularnas.cli.arguments import add_command, constraint, objective, print_json, setting
from modularnas.errors import SpaceError
from modularnas.pipeline.execute import resolve
from modularnas.search import create


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "search",
        run,
        "search a space with an evaluator, both from a Python file",
        [
            "search mine.py:evaluate --space mine.py:space --objective accuracy=max --trials 200",
            "search mine.py:shared --space mine.py:supernet --algorithm nsga2 "
            '--objective accuracy=max --objective macs=min --constraint "macs<=3e8" --storage run.db',
        ],
    )
    command.add_argument(
        "evaluator", metavar="FILE.py:NAME", help="a function of a point, or an evaluator, such as SharedWeights"
    )
    command.add_argument(
        "--space", required=True, metavar="FILE.py:NAME", help="a SearchSpace, a supernet, or a function that makes one"
    )
    command.add_argument(
        "--objective", action="append", default=[], metavar="NAME=max|min", help="once for each (default: accuracy=max)"
    )
    command.add_argument("--constraint", action="append", default=[], metavar="NAME<=VALUE")
    command.add_argument("--algorithm", default="regularized_evolution", help="see `modularnas algorithms`")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the algorithm")
    command.add_argument("--trials", type=int, default=100, help="how many in all (default: %(default)s)")
    command.add_argument("--workers", type=int, default=1, help="evaluations at once (default: %(default)s)")
    command.add_argument("--storage", help="the study's file, in which it goes on")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--json", action="store_true", help="print the front for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    space = resolve(options.space)
    if callable(space) and not hasattr(space, "space"):
        try:
            space = space()
        except TypeError as error:
            raise SpaceError(f"'{options.space}' makes no space: {error}") from error
    space = getattr(space, "space", space)
    if not isinstance(space, SearchSpace):
        raise SpaceError(f"'{options.space}' is a {type(space).__name__}; expected a SearchSpace or a supernet")
    if options.storage:
        Path(options.storage).parent.mkdir(parents=True, exist_ok=True)
    study = Study(
        space,
        create(options.algorithm, **dict(map(setting, options.set))),
        dict(map(objective, options.objective)) or {"accuracy": "max"},
        dict(map(constraint, options.constraint)),
        storage=options.storage,
        seed=options.seed,
    )
    study.optimize(resolve(options.evaluator), options.trials, workers=options.workers, progress=not options.json)
    front = study.pareto_front
    if options.json:
        print_json([{"number": t.number, "point": dict(t.point), "values": t.values} for t in front])
        return
    for trial in front:
        values = ", ".join(f"{name} {value:.6g}" for name, value in trial.values.items())
        print(f"trial {trial.number}: {values}  {trial.point.to_json()}")
