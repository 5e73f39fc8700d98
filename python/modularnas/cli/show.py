"""`modularnas show`: the trials of a study, the stages of a run, several runs side by side."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from modularnas.cli.arguments import add_command, print_json
from modularnas.errors import StorageError
from modularnas.pipeline.metrics import read_metrics
from modularnas.pipeline.result import read_result

__all__ = ["damage_named", "numbers", "read_run", "read_study"]

_STUDY = ("space", "objectives", "constraints", "algorithm", "settings", "seed")


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "show",
        run,
        "show a study's file, a run folder, or compare runs; never blocks what is running",
        ["show run.db", "show runs/spos", "show runs/spos runs/darts", "show runs"],
    )
    command.add_argument("paths", nargs="+", metavar="PATH", help="a study's file, a run folder, a folder of runs")
    command.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    first = Path(options.paths[0])
    if len(options.paths) == 1 and not first.is_dir():
        _show_study(options.paths[0], options.json)
        return
    runs = [folder for path in options.paths for folder in _runs(Path(path))]
    if not runs:
        raise StorageError(
            f"'{options.paths[0]}' is no run folder; expected one with pipeline.json, or a folder of such"
        )
    if len(runs) == 1 and (first / "pipeline.json").is_file():
        _show_run(runs[0], options.json)
    else:
        _compare(runs, options.json)


def _show_study(file: str, as_json: bool) -> None:
    study, trials = read_study(file)
    if as_json:
        print_json({"study": study, "trials": trials})
        return
    print(f"{file}: {study['algorithm']}, seed {study['seed']}, {len(trials)} trials")
    for trial in trials:
        values = ", ".join(f"{name} {value:.6g}" for name, value in trial["values"].items() if value is not None)
        print(f"{trial['number']:6d} {trial['state']:9} {values or trial['error'] or ''}".rstrip())


def read_study(file: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A study's settings and trials, read beside a process that may be writing."""
    if not Path(file).is_file():
        raise StorageError(f"'{file}' does not exist; expected the storage file of a study")
    uri = f"{Path(file).resolve().as_uri()}?mode=ro"
    try:
        with damage_named(file), closing(sqlite3.connect(uri, uri=True)) as db:
            study = dict(db.execute("SELECT key, value FROM study"))
            missing = [key for key in _STUDY if not isinstance(study.get(key), str)]
            if missing:
                raise ValueError(f"the study's {missing[0]} is missing")
            rows = db.execute("SELECT number, state, point, metrics, error, fidelity FROM trials ORDER BY number")
            return study, [_trial(*row) for row in rows]
    except sqlite3.DatabaseError as error:
        raise StorageError(f"'{file}' is no study: {error}") from error


def _trial(
    number: int, state: str, point: str, metrics: str | None, error: str | None, fidelity: float | None
) -> dict[str, Any]:
    if not isinstance(state, str) or not isinstance(error, str | None):
        raise TypeError(f"the state or the error of trial {number} is no text")
    # JSON has no word for infinity; a text stands for it in the file.
    values = {name: None if value is None else float(value) for name, value in json.loads(metrics or "{}").items()}
    return {
        "number": int(number),
        "state": state,
        "point": dict(json.loads(point)),
        "values": values,
        "error": error,
        "fidelity": None if fidelity is None else float(fidelity),
    }


@contextmanager
def damage_named(file: str | Path) -> Iterator[None]:
    """Says of what cannot be read that it is the file that is damaged."""
    try:
        yield
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise StorageError(
            f"'{file}' is damaged: {type(error).__name__}: {error}; keep what is readable by "
            f'"modularnas repair {file}"'
        ) from error


def _runs(path: Path) -> Iterator[Path]:
    if (path / "pipeline.json").is_file():
        yield path
    elif path.is_dir():
        yield from sorted(folder.parent for folder in path.glob("*/pipeline.json"))
    else:
        raise StorageError(f"'{path}' does not exist; expected a run folder")


def read_run(folder: Path) -> dict[str, Any]:
    """What a run folder says: seed, start, and each stage's state, seconds and numbers."""
    record = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
    starts = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    return {
        "folder": str(folder),
        "name": record["name"],
        "seed": record["seed"],
        "started": starts[0]["started"],
        "starts": len(starts),
        "stages": {name: _read_stage(folder / "stages" / name) for name in record["stages"]},
    }


def _read_stage(folder: Path) -> dict[str, Any]:
    stored = read_result(folder)
    if (folder / "error.txt").is_file():
        last = (folder / "error.txt").read_text(encoding="utf-8").strip().splitlines()[-1]
        return {"state": "failed", "error": last}
    if stored is not None:
        return {"state": "done", "wall_s": stored.wall_s, "values": numbers(stored.outputs)}
    if not folder.is_dir():
        return {"state": "waiting"}
    metrics = read_metrics(folder)
    return {"state": "begun", "values": metrics[-1] if metrics else {}}


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """The plain numbers of a result, also those of its `values`, rounded for reading."""
    found: dict[str, float] = {}
    for name, value in result.items():
        inner = value.items() if name in ("values", "hypervolumes") and isinstance(value, Mapping) else [(name, value)]
        for key, number in inner:
            if isinstance(number, float):
                found[key] = float(f"{number:.6g}")
            elif isinstance(number, int) and not isinstance(number, bool):
                found[key] = number
    return found


def _show_run(folder: Path, as_json: bool) -> None:
    found = read_run(folder)
    if as_json:
        print_json(found)
        return
    times = "" if found["starts"] == 1 else f", {found['starts']} starts"
    print(f"{folder}: {found['name']}, seed {found['seed']}, started {found['started']}{times}")
    for name, stage in found["stages"].items():
        wall = f"{stage['wall_s']:.1f} s" if "wall_s" in stage else ""
        values = ", ".join(f"{key} {value:g}" for key, value in stage.get("values", {}).items())
        print(f"  {name:24}{stage['state']:9}{wall:>10}  {values or stage.get('error', '')}".rstrip())


def _compare(folders: list[Path], as_json: bool) -> None:
    found = [read_run(folder) for folder in folders]
    if as_json:
        print_json(found)
        return
    rows = []
    for one in found:
        values: dict[str, float] = {}
        for stage in one["stages"].values():
            values.update(stage.get("values", {}))  # the last stage that measures something has the last word
        done = sum(stage["state"] == "done" for stage in one["stages"].values())
        wall_s = sum(stage.get("wall_s", 0.0) for stage in one["stages"].values())
        rows.append((one, f"{done}/{len(one['stages'])}", wall_s, values))
    metrics = [m for m in dict.fromkeys(m for row in rows for m in row[3]) if all(m in row[3] for row in rows)]
    width = max(len(row[0]["folder"]) for row in rows)
    print(f"{'run':{width}}  {'seed':>6}  {'done':>6}  {'wall s':>8}  " + "  ".join(f"{m:>12}" for m in metrics))
    for one, done, wall_s, values in rows:
        cells = "  ".join(f"{values[m]:>12.6g}" for m in metrics)
        print(f"{one['folder']:{width}}  {one['seed']:>6}  {done:>6}  {wall_s:>8.1f}  {cells}")
