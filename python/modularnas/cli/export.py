"""`modularnas export`: a network that a run's search found, as source and weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from modularnas import derive, export
from modularnas.cli.arguments import add_command, print_json
from modularnas.errors import PipelineError
from modularnas.pipeline.near import near
from modularnas.pipeline.result import Stored, read_result
from modularnas.pipeline.stages.network import load_network, load_supernet


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "export",
        run,
        "write a network of a run as source and weights that need torch alone",
        ["export runs/spos --out best/", "export runs/spos --front 3 --out third/", "export runs/spos --stage train"],
    )
    command.add_argument("run", metavar="RUN", help="a run folder")
    command.add_argument("--out", default="best", help="the folder to write (default: %(default)s)")
    command.add_argument("--stage", help="the stage with its trained weights (default: the last that has some)")
    command.add_argument(
        "--front",
        type=int,
        metavar="N",
        help="the N-th network of the search's front, from 0, with the supernet's weights",
    )
    command.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    folder = Path(options.run)
    results = {
        path.parent.name: stored
        for path in sorted((folder / "stages").glob("*/result.json"), key=lambda path: path.stat().st_mtime)
        if (stored := read_result(path.parent)) is not None
    }
    if not results:
        raise PipelineError(f"'{folder}' is no run folder with results; expected one written by `modularnas run`")
    if options.front is not None:
        net, example = _from_front(results, options.front)
    else:
        network = _last(results, "network")
        weights = results.get(options.stage) if options.stage else _last(results, "weights")
        if weights is None or "weights" not in weights.outputs:
            known = [name for name, stored in results.items() if "weights" in stored.outputs]
            raise PipelineError(f"stage '{options.stage}' has no weights{near(str(options.stage), known)}")
        net, example = load_network(network.value(("network",)), weights.value(("weights",)))
    written = export(net.eval(), options.out, example=example)
    if options.json:
        print_json({"path": str(written)})
    else:
        print(f"exported to {written}")


def _from_front(results: dict[str, Stored], n: int) -> Any:
    front = _last(results, "front").value(("front",))
    if not 0 <= n < len(front):
        raise PipelineError(f"--front is {n}; the front has {len(front)} networks, from 0")
    constructed = _last(results, "supernet")
    trained = next(
        (
            s
            for s in reversed(results.values())
            if "weights" in s.outputs and "network" not in s.outputs and "accuracy" not in s.outputs
        ),
        constructed,
    )
    supernet, example = load_supernet(constructed.value(("supernet",)), trained.value(("weights",)))
    return derive(supernet, front[n]["point"]), example


def _last(results: dict[str, Stored], output: str) -> Stored:
    for stored in reversed(results.values()):
        if output in stored.outputs:
            return stored
    raise PipelineError(f"the run has no stage with the output '{output}' yet")
