"""A study as a table: one row a trial, for pandas, spreadsheets and other programs."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modularnas import _core
from modularnas.errors import MissingExtraError, StorageError

if TYPE_CHECKING:
    import pandas

__all__ = ["frame", "rows", "write_csv", "write_json", "write_parquet"]


def rows(trials: Sequence[_core.Trial]) -> list[dict[str, Any]]:
    """Number, state, decisions as `point_NAME`, values, error."""
    return [
        {
            "number": trial.number,
            "state": trial.state,
            **{f"point_{name}": value for name, value in trial.point.items()},
            **trial.values,
            "error": trial.error,
        }
        for trial in trials
    ]


def frame(trials: Sequence[_core.Trial]) -> pandas.DataFrame:
    """`rows` as a data frame."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise MissingExtraError('to_pandas needs pandas: pip install "modularnas[pandas]"') from error
    return pandas.DataFrame(rows(trials))


def write_csv(trials: Sequence[_core.Trial], path: str | os.PathLike[str]) -> None:
    """`rows` with a header; what a trial does not have is empty."""
    table = rows(trials)
    columns = list(dict.fromkeys(name for row in table for name in row))
    # Errors last, whatever metrics came later.
    columns.sort(key=lambda name: name == "error")
    with _writing(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(table)


def write_json(trials: Sequence[_core.Trial], path: str | os.PathLike[str]) -> None:
    """A list of objects: number, state, point, values, reports, error. Numbers that JSON lacks are texts."""
    table = [
        {
            "number": trial.number,
            "state": trial.state,
            "point": json.loads(trial.point.to_json()),
            "fidelity": trial.fidelity,
            "parent": trial.parent,
            "values": _finite(trial.values),
            "reports": {str(step): _finite(values) for step, values in trial.reports.items()},
            "error": trial.error,
        }
        for trial in trials
    ]
    _writing(path).write_text(json.dumps(table, indent=1, allow_nan=False), encoding="utf-8")


def write_parquet(trials: Sequence[_core.Trial], path: str | os.PathLike[str]) -> None:
    """`rows` as Parquet."""
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError('to_parquet needs pyarrow: pip install "modularnas[parquet]"') from error
    table = frame(trials)
    for name in table.columns:
        # One column, one type: choices may be of several.
        if name.startswith("point_") and table[name].dtype == object:
            table[name] = [None if value is None or value != value else str(value) for value in table[name]]
    table.to_parquet(_writing(path))


def _finite(values: dict[str, float]) -> dict[str, float | str]:
    return {name: value if abs(value) < float("inf") else str(value) for name, value in values.items()}


def _writing(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if not path.parent.is_dir():
        raise StorageError(f"the folder '{path.parent}' of '{path}' does not exist; create it or give another path")
    return path
