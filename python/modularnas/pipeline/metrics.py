"""Metrics of a stage over time: lines of `metrics.jsonl`, and TensorBoard events where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["Report", "read_metrics"]

_FILE = "metrics.jsonl"


class Report:
    """Writes metrics; a stage that has an argument `report` gets one. A step written again replaces what it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._board: Any = None

    def __call__(self, step: int, **metrics: float) -> None:
        """Records numbers of one step."""
        line = json.dumps({"step": int(step), **{name: float(value) for name, value in metrics.items()}})
        with open(self.folder / _FILE, "a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self._board is None:
            self._board = _board(self.folder)
        for name, value in metrics.items():
            self._board and self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what is still in memory."""
        if self._board:
            self._board.close()


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    return SummaryWriter(folder)


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The metrics of a stage by step; after a crash the steps done twice count once."""
    path = folder / _FILE
    if not path.is_file():
        return []
    steps: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut by a crash
            continue
        steps.setdefault(row["step"], {}).update(row)
    return [steps[step] for step in sorted(steps)]
