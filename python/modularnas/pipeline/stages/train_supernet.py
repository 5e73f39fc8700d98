"""Train a supernet: one of the strategies of `mn.train`, on the task's data."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor

from modularnas import train
from modularnas.errors import PipelineError
from modularnas.pipeline.checkpoint import Checkpoint
from modularnas.pipeline.metrics import Report
from modularnas.pipeline.near import near
from modularnas.pipeline.stages.epochs import run_epochs
from modularnas.pipeline.stages.network import load_supernet, to_cpu
from modularnas.pipeline.stages.task import make_task

__all__ = ["TrainedSupernet", "train_supernet"]


class TrainedSupernet(TypedDict):
    """A supernet's weights."""

    weights: dict[str, Tensor]
    losses: list[float]


def train_supernet(
    supernet: dict[str, Any],
    weights: dict[str, Tensor],
    checkpoint: Checkpoint,
    report: Report,
    seed: int,
    epochs: int = 0,
    strategy: str = "SinglePath",
    settings: dict[str, Any] | None = None,
    shrinking: list[dict[str, Any]] | None = None,
    lr: float = 0.02,
    weight_decay: float = 5e-4,
    clip: float = 5.0,
) -> TrainedSupernet:
    """Trains a supernet.

    Args:
        supernet: from `construct`.
        weights: to start from.
        checkpoint: given.
        report: given.
        seed: of the paths.
        epochs: how many; with `shrinking` the sum of its stages.
        strategy: a class of `mn.train`: `SinglePath`, `FairNAS`, `Sandwich`, `WeightsOnly`, `ProgressiveShrinking`, ….
        settings: of the strategy.
        shrinking: the stages of progressive shrinking, as
            `[{epochs: 2, open: {"*kernel_size": null}, n_paths: 1}, …]` (see `mn.train.ShrinkingStage`); the teacher is
            the largest network with the weights that the stage starts from.
        lr: the first learning rate of SGD; cosine decay.
        weight_decay: of SGD.
        clip: the largest norm of the gradients.

    Returns:
        `weights`, and `losses` by epoch.
    """
    net, _ = load_supernet(supernet, weights)
    task = make_task(supernet["task"])
    n_batches = sum(1 for _ in task.batches("train"))
    options = {"seed": seed, **(settings or {})}
    if shrinking is not None:
        options["stages"] = [_stage(n_batches=n_batches, **stage) for stage in shrinking]
        options["teacher"] = net.derive(net.space.extremes("macs")[1])
        epochs = round(sum(stage["epochs"] for stage in shrinking))
    known = [name for name, cls in vars(train).items() if isinstance(cls, type) and issubclass(cls, train.Strategy)]
    if strategy not in known:
        raise PipelineError(f"there is no training strategy '{strategy}'{near(strategy, known)}")
    rule = getattr(train, strategy)(**options)

    def step(batch: Any, optimizer: Any) -> Tensor:
        return rule.step(net, task.loss, batch)  # type: ignore[no-any-return]

    losses = run_epochs(
        net,
        task,
        epochs,
        step,
        checkpoint,
        report,
        lr=lr,
        weight_decay=weight_decay,
        clip=clip,
        also={"strategy": rule},
    )
    return {"weights": to_cpu(net.state_dict()), "losses": losses}


def _stage(n_batches: int, epochs: float, **rest: Any) -> train.ShrinkingStage:
    return train.ShrinkingStage(round(epochs * n_batches), **rest)
