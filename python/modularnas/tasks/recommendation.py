"""Recommendation: click-through rates by a network of interaction branches (the paper's table 5).

Reads tables of numbers and categories: the four of `ctr_small.npz` (MovieLens, Adult, Criteo, Open Bandit), and the raw
text of Criteo's and Avazu's competitions, whose categories are hashed. A raw file is never held in memory: it is
read again for each epoch, every tenth row is the validation's and every tenth the test's. Rows that cannot be read are
left out and counted in a warning.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas.errors import ModularNASError
from modularnas.tasks.recipe import Batches, Plan, Task, part, register, whole

__all__ = ["TABLES", "ClickStream", "Clicks", "auc", "create", "log_loss", "read"]

#: The tables of the `.npz`.
TABLES = ("movielens", "adult", "criteo", "obd")


@dataclass(frozen=True)
class Clicks:
    """A table: numbers float32 `(N, n_numbers)`, categories int64 `(N, n_categories)`, labels float32 `(N,)`.

    Attributes:
        sizes: how many categories each field has.
        split: for each row 0 to train, 1 to validate, 2 to test.
    """

    numbers: Tensor
    categories: Tensor
    labels: Tensor
    sizes: Sequence[int]
    split: Tensor


def auc(outputs: Tensor, targets: Tensor) -> float:
    """The area under the ROC curve of scores `(N,)` for labels 0 and 1, ties counting half; 0.5 of a single class.

    Example:
        >>> mn.tasks.recommendation.auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
        0.75
    """
    _, place, counts = outputs.double().unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts - 1) / 2  # the mean rank of ties
    ones = targets > 0.5
    n_ones, n_zeros = int(ones.sum()), int((~ones).sum())
    if n_ones == 0 or n_zeros == 0:
        return 0.5
    return float((ranks.double()[place][ones].sum() - n_ones * (n_ones + 1) / 2) / (n_ones * n_zeros))


def log_loss(outputs: Tensor, targets: Tensor) -> float:
    """The mean negative log-likelihood of labels for logits `(N,)`."""
    return float(nn.functional.binary_cross_entropy_with_logits(outputs, targets))


def read(path: str | Path, table: str = "movielens") -> Clicks:
    """A table of the `.npz`.

    Args:
        path: the file.
        table: one of `TABLES`.

    Raises:
        ModularNASError: if there is no such file or table.
    """
    if table not in TABLES:
        raise ModularNASError(f"table is {table!r}; expected one of {', '.join(TABLES)}")
    try:
        with np.load(path, allow_pickle=False) as file:
            return _READERS[table]({name: file[name] for name in file.files})
    except (OSError, KeyError, ValueError) as error:
        raise ModularNASError(f"'{path}' holds no table {table!r}: {error}; expected ctr_small.npz") from error


def _table(numbers: Any, categories: Any, labels: Any, split: Any) -> Clicks:
    """Numbers are standardised by the training rows, missing ones are 0; categories are numbered from 0."""
    split = torch.as_tensor(np.asarray(split)).long()
    x = torch.as_tensor(np.asarray(numbers, np.float32))
    mean = x[split == 0].nanmean(0)
    std = ((x[split == 0] - mean).square().nanmean(0)).sqrt().clamp_min(1e-6)
    columns = [np.unique(column, return_inverse=True) for column in np.asarray(categories).T]
    codes = torch.from_numpy(np.stack([codes.reshape(-1) for _, codes in columns], 1)).long()
    labels = torch.as_tensor(np.asarray(labels, np.float32))
    return Clicks(((x - mean) / std).nan_to_num(0.0), codes, labels, [len(values) for values, _ in columns], split)


def _movielens(z: dict[str, NDArray[Any]]) -> Clicks:
    movie = z["ml_movie"]
    names = ("ml_user", "ml_hour", "ml_weekday")
    categories = [*(z[name] for name in names), movie, z["ml_movie_5year"][movie], z["ml_movie_genres"][movie]]
    return _table(z["ml_year"][:, None], np.stack(categories, 1).astype(np.int64), z["ml_label"], z["ml_split"])


def _adult(z: dict[str, NDArray[Any]]) -> Clicks:
    # The official split has no validation: one training row in ten.
    split = z["adult_split"].astype(np.int64)
    order = np.flatnonzero(split == 0)
    split[np.random.default_rng(0).permutation(order)[: len(order) // 10]] = 1
    return _table(np.log1p(np.abs(z["adult_num"])), z["adult_cat"], z["adult_label"], split)


def _criteo(z: dict[str, NDArray[Any]]) -> Clicks:
    numbers, categories = _squash(z["criteo_int"]), z["criteo_cat"].astype(np.int64)
    for column in range(categories.shape[1]):  # categories seen once tell nothing
        values, codes, counts = np.unique(categories[:, column], return_inverse=True, return_counts=True)
        categories[:, column] = np.where(counts[codes.reshape(-1)] < 4, 0, values[codes.reshape(-1)])
    return _table(numbers, categories, z["criteo_label"], z["criteo_split"])


def _obd(z: dict[str, NDArray[Any]]) -> Clicks:
    split = np.arange(len(z["obd_label"])) % 10
    categories = np.concatenate([z["obd_cat"], z["obd_user"]], 1).astype(np.int64)
    return _table(z["obd_affinity"], categories, z["obd_label"], np.where(split > 7, split - 7, 0))


def _squash(x: NDArray[Any]) -> NDArray[Any]:
    """log(1 + x) of counts; the few negative ones keep their sign."""
    return np.asarray(np.sign(x) * np.log1p(np.abs(x)))


_READERS: dict[str, Callable[[dict[str, NDArray[Any]]], Clicks]] = dict(
    zip(TABLES, (_movielens, _adult, _criteo, _obd), strict=True)
)


def _criteo_row(line: str) -> tuple[str, list[str], list[str]]:
    label, *fields = line.rstrip("\n").split("\t")
    if len(fields) != 39:
        raise ValueError(f"{len(fields) + 1} fields, expected 40")
    return label, fields[:13], fields[13:]


def _avazu_row(line: str) -> tuple[str, list[str], list[str]]:
    _, label, hour, *fields = line.rstrip("\n").split(",")
    if len(fields) != 21:
        raise ValueError(f"{len(fields) + 3} fields, expected 24")
    return label, [], [hour[6:8], *fields]


#: By format: how a line is read, numbers and categories of a row, whether the first line names the columns.
FORMATS: dict[str, tuple[Callable[[str], tuple[str, list[str], list[str]]], int, int, bool]] = {
    "criteo": (_criteo_row, 13, 26, False),
    "avazu": (_avazu_row, 0, 22, True),
}


class ClickStream:
    r"""Batches of a raw text file, read line by line each time it is gone over.

    Args:
        path: the file.
        format: "criteo" (label, 13 counts, 26 categories, tabs between) or "avazu" (its csv with a header).
        part: "train" (eight rows of ten), "valid" or "test" (one of ten each).
        buckets: what each category is hashed into.
        size: rows of a batch.

    Raises:
        ModularNASError: if there is no such file or format, or it has no readable row.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "train.txt"
        ...     _ = file.write_text("\n".join("\t".join(["1", *["2"] * 13, *["ab"] * 26]) for _ in range(20)))
        ...     stream = mn.tasks.recommendation.ClickStream(file, "criteo", "train", size=8)
        ...     [len(labels) for _, labels in stream]
        [8, 8]
    """

    def __init__(self, path: str | Path, format: str, part: str, *, buckets: int = 10_000, size: int = 4096) -> None:
        if format not in FORMATS or part not in ("train", "valid", "test"):
            raise ModularNASError(
                f"a stream is given format={format!r}, part={part!r}; expected one of {list(FORMATS)}"
            )
        self.path = Path(path)
        if not self.path.is_file():
            raise ModularNASError(f"'{path}' does not exist; expected the raw text of {format}")
        self.row, self.n_numbers, self.n_categories, self.has_header = FORMATS[format]
        self.part, self.buckets, self.size = part, buckets, size
        self._n_batches: int | None = None
        if next(iter(self), None) is None:
            raise ModularNASError(f"'{path}' has no row that can be read as {format}")

    @property
    def sizes(self) -> list[int]:
        """How many categories each field has."""
        return [self.buckets] * self.n_categories

    def __len__(self) -> int:
        if self._n_batches is None:
            self._n_batches = sum(1 for _ in self)
        return self._n_batches

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
        rows: list[tuple[float, list[float], list[int]]] = []
        bad, first = 0, ""
        with self.path.open(encoding="utf-8", errors="replace") as file:
            if self.has_header:
                next(file, None)
            for number, line in enumerate(file):
                if ("train" if number % 10 < 8 else "valid" if number % 10 == 8 else "test") != self.part:
                    continue
                try:
                    rows.append(self._parse(line))
                except ValueError as error:
                    bad, first = bad + 1, first or f"line {number + 1 + self.has_header}: {error}"
                    continue
                if len(rows) == self.size:
                    yield self._batch(rows)
                    rows = []
        if rows:
            yield self._batch(rows)
        if bad:
            warnings.warn(f"'{self.path}': {bad} rows of the {self.part} part left out; {first}", stacklevel=2)

    def _parse(self, line: str) -> tuple[float, list[float], list[int]]:
        label, numbers, categories = self.row(line)
        if label not in ("0", "1"):
            raise ValueError(f"the label is {label!r}, expected 0 or 1")
        counts = [float(text or 0) for text in numbers]
        if not all(map(math.isfinite, counts)):
            raise ValueError("a count is not finite")
        values = [math.copysign(math.log1p(abs(count)), count) for count in counts]
        # crc32 of field and text: Python's own hash differs from process to process.
        codes = [zlib.crc32(f"{i}:{text}".encode()) % self.buckets for i, text in enumerate(categories)]
        return float(label), values, codes

    def _batch(self, rows: list[tuple[float, list[float], list[int]]]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        labels, numbers, categories = zip(*rows, strict=True)
        x = torch.tensor(numbers).reshape(len(rows), self.n_numbers), torch.tensor(categories)
        return x, torch.tensor(labels)


@register("recommendation")
def create(
    data: str | Path | Clicks,
    *,
    smoke: bool = False,
    seed: int = 0,
    table: str = "movielens",
    format: str | None = None,
    batch_size: int = 512,
    n_train: int | None = None,
    rate: float = 2e-3,
    decay: float = 1e-5,
    fixed: Sequence[str] | None = None,
    **settings: Any,
) -> tuple[Task, Plan]:
    """The task.

    Args:
        data: a `.npz` as of `read`, or what it gives; or a raw text file as of `ClickStream`.
        smoke: whether to use a few rows.
        seed: of the order.
        table: of the `.npz`.
        format: of the raw text file.
        batch_size: rows of a batch.
        n_train: how many rows to train on; None: all.
        rate: of Adam.
        decay: of the weights.
        fixed: the interaction of each branch of the baseline; None: `mlp` in all.
        **settings: of the space `ctr_branches`.
    """
    whole(batch_size=batch_size, n_train=n_train)
    parts: tuple[Any, Any, Any]
    if format is not None and not isinstance(data, Clicks):
        train, valid, test = (ClickStream(data, format, name, size=batch_size) for name in ("train", "valid", "test"))
        parts, fields = (train, valid, test), {"n_numbers": train.n_numbers, "sizes": train.sizes}
    else:
        clicks = data if isinstance(data, Clicks) else read(data, table)
        parts, fields = _parts(clicks, batch_size, 512 if smoke else n_train, seed)
        if smoke:
            parts = (parts[0], parts[1].first(512), parts[2].first(512))

    def adam(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, rate, weight_decay=decay)

    loss = nn.functional.binary_cross_entropy_with_logits
    space = ("ctr_branches", {**fields, **settings})
    baseline = "mlp" if fixed is None else {f"branch_{i}": name for i, name in enumerate(fixed)}
    task = Task(
        "recommendation",
        train=parts[0],
        valid=parts[1],
        test=parts[2],
        space=space,
        metrics={"auc": auc, "log_loss": log_loss},
        baseline=baseline,
        loss=loss,
        optimizer=adam,
    )
    return task, Plan.smoke() if smoke else Plan(epochs=4, supernet_epochs=8)


def _parts(
    clicks: Clicks, size: int, n_train: int | None, seed: int
) -> tuple[tuple[Batches, Batches, Batches], dict[str, Any]]:
    x = (clicks.numbers, clicks.categories)
    order = torch.randperm(len(clicks.labels), generator=torch.Generator().manual_seed(seed))
    rows = [order[clicks.split[order] == code] for code in range(3)]
    train = part(rows[0][:n_train], x, clicks.labels, size=size, shuffle=True, seed=seed)
    rest = [part(some, x, clicks.labels, size=4096) for some in rows[1:]]
    return (train, rest[0], rest[1]), {"n_numbers": x[0].shape[1], "sizes": clicks.sizes}
