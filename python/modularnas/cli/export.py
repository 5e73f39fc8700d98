"""`modularnas export`: a network that a run's search found, as source and weights."""

from __future__ import annotations

import argparse
import json
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
    results = _Results(Path(options.run))
    if options.front is not None:
        net, example = results.from_front(options.front)
    else:
        net, example = results.trained(options.stage)
    written = export(net.eval(), options.out, example=example)
    if options.json:
        print_json({"path": str(written)})
    else:
        print(f"exported to {written}")


class _Results:
    """The results of a run, and from which stages each took its inputs; the last in the file comes last."""

    def __init__(self, folder: Path) -> None:
        record = folder / "pipeline.json"
        described = json.loads(record.read_text(encoding="utf-8"))["stages"] if record.is_file() else {}
        self.inputs = {name: stage["inputs"] for name, stage in described.items()}
        stored = {name: read_result(folder / "stages" / name) for name in described}
        self.done: dict[str, Stored] = {name: result for name, result in stored.items() if result is not None}
        if not self.done:
            raise PipelineError(f"'{folder}' is no run folder with results; expected one written by `modularnas run`")

    def trained(self, stage: str | None) -> Any:
        """A network with the weights of a stage; None: of the last that has some."""
        known = [name for name, stored in self.done.items() if "weights" in stored.outputs and self._has_network(name)]
        if stage is None and not known:
            raise PipelineError("the run has no stage with the weights of a network yet")
        if stage is not None and stage not in known:
            raise PipelineError(f"stage '{stage}' has no weights of a network{near(stage, known)}")
        chosen = stage or known[-1]
        return load_network(self._value(chosen, "network"), self.done[chosen].value(("weights",)))

    def from_front(self, n: int) -> Any:
        """The n-th network of the front of the last search, with the weights that it searched with."""
        searches = [name for name, stored in self.done.items() if "front" in stored.outputs]
        if not searches:
            raise PipelineError("the run has no stage with the output 'front' yet")
        front = self.done[searches[-1]].value(("front",))
        if not 0 <= n < len(front):
            raise PipelineError(f"--front is {n}; the front has {len(front)} networks, from 0")
        supernet, weights = (self._value(searches[-1], argument) for argument in ("supernet", "weights"))
        net, example = load_supernet(supernet, weights)
        return derive(net, front[n]["point"]), example

    def _has_network(self, name: str) -> bool:
        return "network" in self.done[name].outputs or "network" in self.inputs[name]

    def _value(self, name: str, what: str) -> Any:
        """An output of a stage, or what it was given under that name."""
        if what in self.done[name].outputs:
            return self.done[name].value((what,))
        source, *path = self.inputs[name][what].split(".")
        return self.done[source].value(tuple(path))
