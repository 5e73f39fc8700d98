"""Train: a derived network, from inherited weights or from new ones."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor

from modularnas.pipeline.checkpoint import Checkpoint
from modularnas.pipeline.metrics import Report
from modularnas.pipeline.stages.epochs import run_epochs
from modularnas.pipeline.stages.network import load_network, to_cpu
from modularnas.pipeline.stages.task import make_task

__all__ = ["Trained", "train"]


class Trained(TypedDict):
    """A network's weights, and how good they are."""

    weights: dict[str, Tensor]
    accuracy: float
    losses: list[float]


def train(
    network: dict[str, Any],
    weights: dict[str, Tensor],
    checkpoint: Checkpoint,
    report: Report,
    epochs: int,
    lr: float = 0.02,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    clip: float = 5.0,
    metric: str = "accuracy",
) -> Trained:
    """Trains a network.

    Args:
        network: from `derive`.
        weights: to start from.
        checkpoint: given.
        report: given.
        epochs: how many.
        lr: the first learning rate of SGD; cosine decay.
        momentum: of SGD.
        weight_decay: of SGD.
        clip: the largest norm of the gradients.
        metric: the task's metric that is returned as `accuracy`.

    Returns:
        `weights`, `accuracy` on the validation part, and `losses` by epoch.
    """
    net, _ = load_network(network, weights)
    task = make_task(network["task"])

    def step(batch: Any, optimizer: Any) -> Tensor:
        loss = task.loss(net, batch)
        loss.backward()
        return loss

    losses = run_epochs(
        net,
        task,
        epochs,
        step,
        checkpoint,
        report,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        clip=clip,
        measure=lambda: task.score(net.eval(), "valid"),
    )
    return {
        "weights": to_cpu(net.state_dict()),
        "accuracy": float(task.score(net.eval(), "valid")[metric]),
        "losses": losses,
    }
