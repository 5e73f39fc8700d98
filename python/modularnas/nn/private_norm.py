"""Batch norms with statistics of their own for every choice.

Yu et al. 2018, "Slimmable Neural Networks", arXiv 1812.08928, section 3.2 (switchable batch normalisation): statistics
of one choice must not mix with those of another. A table has a row for each combination of choices, and the module's
running statistics are the active row, so whatever updates them updates the table. Scale and shift stay shared.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["privatise", "publish", "select"]

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def _table(name: str) -> str:
    return f"private_{name}"


def privatise(norm: _NormBase, rows: int) -> None:
    """Gives a norm a table of statistics; every row starts as the statistics it has."""
    for name in STATISTICS:
        statistic = norm._buffers[name]
        if statistic is not None:
            norm.register_buffer(_table(name), statistic.expand(rows, *statistic.shape).clone())
    select(norm, 0)


def select(norm: nn.Module, row: int) -> None:
    """Makes a row the statistics that are used and updated."""
    for name in STATISTICS:
        table = norm._buffers.get(_table(name))
        if table is not None:
            norm._buffers[name] = table[row]


def publish(norm: nn.Module) -> None:
    """Takes the table away; the selected row stays, as a copy."""
    for name in STATISTICS:
        if norm._buffers.pop(_table(name), None) is not None:
            norm._buffers[name] = norm._buffers[name].clone()  # type: ignore[union-attr]
