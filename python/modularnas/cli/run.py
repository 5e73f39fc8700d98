"""`modularnas run`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from modularnas.cli.arguments import add_command, print_json, setting
from modularnas.errors import PipelineError
from modularnas.pipeline.described import published, read_pipeline, schema


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "run",
        run,
        "run a pipeline of stages described in YAML; what is done already is not run again",
        [
            "run --list",
            "run spos --set data=cifar-10-batches-py --out runs/spos",
            "run experiment.yaml --dry-run",
            "run experiment.yaml --smoke --workers 2",
            "run experiment.yaml --svg graph.svg",
        ],
    )
    command.add_argument("pipeline", nargs="?", metavar="PIPELINE", help="a YAML file, or a name of --list")
    command.add_argument("--out", help="the run folder (default: runs/NAME)")
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another value of one of its settings"
    )
    size = command.add_mutually_exclusive_group()
    for name, what in (
        ("smoke", "as little as runs through"),
        ("small", "minutes on a laptop, accuracies mean something"),
    ):
        size.add_argument(
            f"--{name}", action="store_const", dest="size", const=name, help=f"its {name} settings: {what}"
        )
    command.add_argument("--seed", type=int, help="instead of the file's")
    command.add_argument("--workers", type=int, default=1, help="stages at once, where they can (default: %(default)s)")
    command.add_argument(
        "--executor", help="where stages run: threads (default for one worker), processes (default for more), or ray"
    )
    command.add_argument("--force", action="append", default=[], metavar="STAGE", help="run it even if it is done")
    command.add_argument("--dry-run", action="store_true", help="check everything and print what would run")
    command.add_argument("--svg", metavar="FILE", help="draw the graph and stop")
    command.add_argument("--list", action="store_true", help="list the pipelines of the package")
    command.add_argument("--schema", action="store_true", help="print the JSON schema of the YAML, for editors")
    command.add_argument("--json", action="store_true", help="print the results for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    if options.schema:
        print_json(schema())
        return
    if options.list:
        _list(options.json)
        return
    if options.pipeline is None:
        raise PipelineError("run is given no pipeline; give a YAML file, or a name of `modularnas run --list`")
    pipeline, seed = read_pipeline(options.pipeline, settings=dict(map(setting, options.set)), size=options.size)
    seed = seed if options.seed is None else options.seed
    out = Path(options.out or Path("runs", pipeline.name))
    if options.svg:
        Path(options.svg).write_text(pipeline.svg(out) + "\n", encoding="utf-8")
        return
    if options.dry_run and options.json:
        states = pipeline.states(out, seed=seed)
        print_json({name: {"state": state, "call": pipeline.stages[name].call()} for name, state in states.items()})
        return
    if options.dry_run:
        print(pipeline.plan(out, seed=seed))
        return
    results = pipeline.run(
        out,
        seed=seed,
        workers=options.workers,
        executor=options.executor or ("threads" if options.workers == 1 else "processes"),
        force=options.force,
        say=None if options.json else lambda line: print(line, file=sys.stderr, flush=True),
    )
    from modularnas.cli.show import numbers

    table = {name: numbers(result) for name, result in results.items()}
    if options.json:
        print_json(table)
        return
    for name, values in table.items():
        print(f"{name:24}{', '.join(f'{key} {value}' for key, value in values.items())}")
    print(f"all of it in {out}")


def _list(as_json: bool) -> None:
    import yaml

    table = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in published().items()}
    if as_json:
        print_json(
            {name: {"description": data["description"], "stages": list(data["stages"])} for name, data in table.items()}
        )
        return
    for name, data in table.items():
        print(f"{name:22}{' '.join(data['description'].split())}")
