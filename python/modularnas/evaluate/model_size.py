"""Model size: how many bytes a candidate takes on disk."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modularnas.evaluate.candidate import Source, network_of

__all__ = ["ModelSize"]


class ModelSize:
    """The size of candidates on disk: `model_bytes`.

    Args:
        source: a supernet, or a function from a point to a network.
        export: `export(net, folder)` writes it as it is to be shipped, such as
            `lambda net, folder: mn.export(net, folder, example=x)` or an ONNX export; all files in the folder count.
            None: the weights and buffers as `torch.save` writes them.

    Example:
        >>> build = lambda point: nn.Linear(100, point["n"])
        >>> study = mn.Study(mn.SearchSpace({"n": mn.choice([10, 99])}), "grid", objectives={"model_bytes": "min"})
        >>> study.optimize(mn.evaluate.ModelSize(build), trials=2, progress=False)
        >>> study.best_trial.point["n"], study.best_trial.values["model_bytes"] > 4 * 100 * 10
        (10, True)
    """

    def __init__(self, source: Source, export: Callable[[nn.Module, str], Any] | None = None) -> None:
        self.build = network_of(source, "ModelSize")
        self.export = export

    def evaluate(self, trials: Sequence[Any]) -> list[dict[str, float]]:
        """The size of each trial's candidate."""
        return [{"model_bytes": float(self._size(self.build(trial.point)))} for trial in trials]

    def _size(self, net: nn.Module) -> int:
        if self.export is None:
            buffer = io.BytesIO()
            torch.save(net.state_dict(), buffer)
            return buffer.tell()
        with tempfile.TemporaryDirectory() as folder:
            self.export(net, folder)
            return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
