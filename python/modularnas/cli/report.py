"""`modularnas report`: a study or a run as a page to read."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from modularnas import _core, evaluate
from modularnas.cli.arguments import add_command
from modularnas.cli.show import damage_named, read_run, read_study
from modularnas.errors import EvaluationError, StorageError
from modularnas.pareto import pareto_front

_ROWS = 20


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "report",
        run,
        "write a study or a run as Markdown: what was asked, what was found, how it went",
        ["report run.db", "report runs/spos --out report.md"],
    )
    command.add_argument("path", metavar="PATH", help="a study's file, or a run folder")
    command.add_argument("--out", help="a file to write (default: printed)")
    command.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    path = Path(options.path)
    if path.is_dir():
        files = sorted(path.glob("stages/*/study.db"))
        if not files and not (path / "pipeline.json").is_file():
            raise StorageError(f"'{path}' is no run folder; expected pipeline.json in it")
    else:
        files = [path]
    facts = {str(file): study_facts(file) for file in files}
    if options.json:
        text = json.dumps(facts, indent=2)
    else:
        head = [f"# {path}", ""]
        if path.is_dir():
            head += _run_lines(path)
        text = "\n".join([*head, *(line for file, found in facts.items() for line in _study_lines(file, found))])
    if options.out:
        Path(options.out).write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


def study_facts(file: Path) -> dict[str, Any]:
    """The settings, counts, front and incumbents of a study's file."""
    study, trials = read_study(file)
    with damage_named(file):
        return _facts(study, trials)


def _facts(study: dict[str, Any], trials: list[dict[str, Any]]) -> dict[str, Any]:
    objectives = {row["metric"]: row["direction"] for row in json.loads(study["objectives"])}
    done = [t for t in trials if t["state"] == "complete" and all(t["values"].get(m) is not None for m in objectives)]
    constraints = {row["metric"]: (row["low"], row["high"]) for row in json.loads(study["constraints"])}
    feasible = [
        t for t in done if all(_inside(t["values"].get(m), bounds) for m, bounds in constraints.items())
    ] or done
    values = [[t["values"][metric] for metric in objectives] for t in feasible]
    front = [feasible[i] for i in pareto_front(values, list(objectives.values()))] if feasible else []
    metric, direction = next(iter(objectives.items()))
    incumbents: list[dict[str, Any]] = []
    for trial in feasible:
        value = trial["values"][metric]
        if not incumbents or (
            value > incumbents[-1]["value"] if direction == "max" else value < incumbents[-1]["value"]
        ):
            incumbents.append({"number": trial["number"], "value": value})
    return {
        "algorithm": study["algorithm"],
        "settings": json.loads(study["settings"]),
        "seed": int(study["seed"]),
        "objectives": objectives,
        "constraints": constraints,
        "states": dict(Counter(trial["state"] for trial in trials)),
        "front": front,
        "incumbents": incumbents,
        "errors": sorted({t["error"] for t in trials if t["error"]})[:5],
        "card": _card(study, trials, objectives, constraints),
    }


def _card(
    study: dict[str, Any], trials: list[dict[str, Any]], objectives: dict[str, str], constraints: dict[str, Any]
) -> str | None:
    """What `study.card()` says of the trials in the file, which is not opened as a study: that may be running."""
    space = _core.SearchSpace.from_json(study["space"])
    record = SimpleNamespace(
        algorithm=study["algorithm"],
        objectives=objectives,
        constraints=constraints,
        trials=[
            SimpleNamespace(**{**trial, "point": space.point(trial["point"]), "fidelity": trial["fidelity"] or 1.0})
            for trial in trials
        ],
    )
    try:
        return str(evaluate.make_card(record))
    except EvaluationError:  # no trial is complete
        return None


def _inside(value: float | None, bounds: tuple[float | None, float | None]) -> bool:
    low, high = bounds
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


def _run_lines(folder: Path) -> list[str]:
    found = read_run(folder)
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))[-1]
    lines = [
        f"Pipeline {found['name']}, seed {found['seed']}, started {found['started']}, {found['starts']} start(s). "
        f"modularnas {environment['modularnas']}, torch {environment['torch']}, Python {environment['python']}, "
        f"{environment['platform']}, {environment['n_threads']} thread(s).",
        "",
        "| stage | state | seconds | values |",
        "|---|---|---|---|",
    ]
    for name, stage in found["stages"].items():
        values = ", ".join(f"{key} {value:g}" for key, value in stage.get("values", {}).items())
        lines.append(f"| {name} | {stage['state']} | {stage.get('wall_s', '')} | {values or stage.get('error', '')} |")
    card = folder / "card.md"  # of `mn.auto`
    return [*lines, "", *([card.read_text(encoding="utf-8")] if card.is_file() else [])]


def _study_lines(file: str, found: dict[str, Any]) -> list[str]:
    goals = ", ".join(f"{direction} {metric}" for metric, direction in found["objectives"].items())
    bounds = "".join(f", {low} <= {metric} <= {high}" for metric, (low, high) in found["constraints"].items())
    settings = ", ".join(f"{key}={value!r}" for key, value in found["settings"].items())
    states = ", ".join(f"{count} {state}" for state, count in found["states"].items())
    metrics = list(found["objectives"])
    lines = [
        f"## {file}",
        "",
        f"{found['algorithm']}({settings}), seed {found['seed']}: {goals}{bounds}. Trials: {states}.",
        "",
        f"| trial | {' | '.join(metrics)} | architecture |",
        f"|---|{'---|' * len(metrics)}---|",
    ]
    for trial in sorted(found["front"], key=lambda trial: trial["values"][metrics[0]], reverse=True)[:_ROWS]:
        values = " | ".join(f"{trial['values'][metric]:.6g}" for metric in metrics)
        lines.append(f"| {trial['number']} | {values} | `{json.dumps(trial['point'])}` |")
    steps = ", ".join(f"{step['value']:.6g} (trial {step['number']})" for step in found["incumbents"])
    lines += ["", f"Best {metrics[0]} over time: {steps}.", ""]
    if found["card"] is not None:
        lines += ["Result card:", "", *(f"    {line}" for line in found["card"].splitlines()), ""]
    lines += [f"Failed: {error}" for error in found["errors"]]
    return lines
