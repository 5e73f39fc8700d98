"""A task: the data, the loss and the score of a pipeline's networks."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from modularnas import demo
from modularnas.errors import PipelineError
from modularnas.pipeline.execute import resolve

__all__ = ["Part", "Pictures", "Task", "make_task"]

Part = Literal["train", "valid", "test"]


class Task(Protocol):
    """What a user's task has; a class in a file, named `file.py:Class` in a pipeline."""

    def batches(self, part: Part, epoch: int = 0) -> Iterable[Any]:
        """The batches of one epoch: a function of its arguments, so that a run that was cut sees the same ones."""
        ...

    def loss(self, net: nn.Module, batch: Any) -> Tensor:
        """A scalar to minimise."""
        ...

    def score(self, net: nn.Module, part: Part) -> dict[str, float]:
        """The metrics of a network in eval mode."""
        ...


class Pictures:
    """Classification of small pictures: CIFAR-10, or scikit-learn's digits.

    Args:
        data: `"cifar10"` or `"digits"`.
        path: of CIFAR-10: its folder or our small `.npz`.
        n_train: how many pictures to train on; None: all.
        n_valid: how many of the training pictures to validate on; at most a half.
        n_test: how many to test on; None: all.
        image_size: pictures are resized to it, in pixels.
        batch_size: for training and scoring.
        device: where the pictures are, and so the networks.
    """

    def __init__(
        self,
        data: str = "digits",
        path: str | None = None,
        *,
        n_train: int | None = None,
        n_valid: int = 1000,
        n_test: int | None = None,
        image_size: int = 32,
        batch_size: int = 64,
        device: str = "cpu",
    ) -> None:
        pictures = _load(data, path, n_train, n_valid, image_size)
        self.parts = {
            "train": _first(pictures.train, n_train),
            "valid": _first(pictures.valid, n_valid),
            "test": _first(pictures.test, n_test),
        }
        self.parts = {name: (x.to(device), y.to(device)) for name, (x, y) in self.parts.items()}
        self.batch_size = batch_size

    def batches(self, part: Part, epoch: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches `(N, C, H, W)` and `(N,)`; those to train on are shuffled, shifted and, where colourful, mirrored."""
        if part != "train":
            x, y = self.parts[part]
            for start in range(0, len(x), self.batch_size):
                yield x[start : start + self.batch_size], y[start : start + self.batch_size]
            return
        for x, y in demo.batches(self.parts["train"], self.batch_size, seed=epoch):
            x = demo.shift(x)
            mirror = x.shape[1] == 3 and bool(torch.rand(()) < 0.5)
            yield (x.flip(-1) if mirror else x), y

    def loss(self, net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-entropy."""
        x, y = batch
        return nn.functional.cross_entropy(net(x), y)

    def score(self, net: nn.Module, part: Part) -> dict[str, float]:
        """`accuracy`, the share of right ones."""
        right = 0
        with torch.no_grad():
            for x, y in self.batches(part):
                right += int((net(x).argmax(1) == y).sum())
        return {"accuracy": right / len(self.parts[part][1])}


@functools.lru_cache(maxsize=1)  # stages in one process load once
def _load(data: str, path: str | None, n_train: int | None, n_valid: int, image_size: int) -> demo.Pictures:
    if data == "digits":
        return demo.load_digits()
    if data == "cifar10" and path is not None:
        return demo.load_cifar10(path, n_train, n_valid, image_size)
    raise PipelineError(f"data is {data!r} and path is {path!r}; expected digits, or cifar10 and its path")


def _first(part: tuple[Tensor, Tensor], n: int | None) -> tuple[Tensor, Tensor]:
    return part if n is None else (part[0][:n], part[1][:n])


def make_task(description: dict[str, Any]) -> Task:
    """The task that `construct` was given: `{"run": "file.py:Class", …its arguments}`; without `run`, `Pictures`."""
    arguments = dict(description)
    run = arguments.pop("run", None)
    try:
        return cast(Task, (Pictures if run is None else resolve(run))(**arguments))
    except TypeError as error:
        raise PipelineError(f"the task {run or 'Pictures'}: {error}") from error
