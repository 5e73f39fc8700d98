"""Train a supernet: one of the strategies of `mn.train`, on the task's data."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor

from modularnas.pipeline.checkpoint import Checkpoint
from modularnas.pipeline.metrics import Report
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
    epochs: int,
    lr: float = 0.02,
    weight_decay: float = 5e-4,
    clip: float = 5.0,
) -> TrainedSupernet:
    """Trains a supernet by uniform single paths.

    Args:
        supernet: from `construct`.
        weights: to start from.
        checkpoint: given.
        report: given.
        seed: of the paths.
        epochs: how many.
        lr: the first learning rate of SGD; cosine decay.
        weight_decay: of SGD.
        clip: the largest norm of the gradients.

    Returns:
        `weights`, and `losses` by epoch.
    """
    net, _ = load_supernet(supernet, weights)
    task = make_task(supernet["task"])
    net.sampling("uniform", seed=seed)

    def step(batch: Any) -> Tensor:
        loss = task.loss(net, batch)
        loss.backward()
        return loss

    losses = run_epochs(net, task, epochs, step, checkpoint, report, lr=lr, weight_decay=weight_decay, clip=clip)
    net.sampling(None)
    return {"weights": to_cpu(net.state_dict()), "losses": losses}
