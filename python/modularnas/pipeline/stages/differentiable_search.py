"""Differentiable search: weights and architecture parameters of a relaxed supernet in turn (DARTS and its kin)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypedDict

from torch import Tensor

from modularnas import search
from modularnas.errors import PipelineError
from modularnas.pipeline.checkpoint import Checkpoint
from modularnas.pipeline.metrics import Report
from modularnas.pipeline.near import near
from modularnas.pipeline.stages.epochs import run_epochs
from modularnas.pipeline.stages.network import load_supernet, to_cpu
from modularnas.pipeline.stages.task import Task, make_task

__all__ = ["DifferentiablySearched", "differentiable_search"]


class DifferentiablySearched(TypedDict):
    """What was found."""

    best: dict[str, Any]
    costs: dict[str, float]
    alpha: dict[str, Tensor]
    weights: dict[str, Tensor]
    losses: list[float]


def differentiable_search(
    supernet: dict[str, Any],
    weights: dict[str, Tensor],
    checkpoint: Checkpoint,
    report: Report,
    seed: int,
    epochs: int,
    algorithm: str = "DARTS",
    settings: dict[str, Any] | None = None,
    cost: dict[str, Any] | None = None,
    lr: float = 0.025,
    momentum: float = 0.9,
    weight_decay: float = 3e-4,
    clip: float = 5.0,
    every: int = 1,
) -> DifferentiablySearched:
    """Searches by gradients.

    The architecture learns from the validation part, the weights from the training part.

    Args:
        supernet: from `construct`.
        weights: to start from.
        checkpoint: given.
        report: given.
        seed: of the architecture parameters and all paths.
        epochs: how many.
        algorithm: one of the gradient-based methods of `mn.search`, such as `DARTS`, `GDAS`, `ProxylessNAS`.
        settings: of the method.
        cost: a term for costs in the loss: `{"metric": "macs", "weight": 0.1, "target": 3e8}` (see `mn.search.Add`).
        lr: the first learning rate of the weights; cosine decay.
        momentum: of SGD.
        weight_decay: of SGD.
        clip: the largest norm of the gradients of the weights.
        every: batches of weights to one step of the architecture.

    Returns:
        `best`, the point found; its `costs`; `alpha` by decision; `weights` of the supernet; `losses` by epoch.
    """
    known = [name for name in search.__all__ if hasattr(getattr(search, name), "backward")]
    if algorithm not in known:
        raise PipelineError(f"there is no differentiable search '{algorithm}'{near(algorithm, known)}")
    net, _ = load_supernet(supernet, weights)
    task = make_task(supernet["task"])
    term = None if cost is None else search.Add(**cost)
    method = getattr(search, algorithm)(net, seed=seed, cost=term, **(settings or {}))
    valid = _endless(task)
    n_seen = 0

    def step(batch: Any, optimizer: Any) -> Tensor:
        nonlocal n_seen
        if n_seen % every == 0:
            method.step(task.loss, batch, next(valid), weights_optimizer=optimizer)
        n_seen += 1
        optimizer.zero_grad()
        loss = task.loss(net, batch)
        loss.backward()
        return loss

    def skip(epoch: int) -> None:
        """At the start of an epoch, the same validation batches come next whether the run was cut or not."""
        nonlocal n_seen, valid
        valid, n_seen = _endless(task, epoch), 0

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
        begin=skip,
        also={"method": method},
    )
    point = method.point()
    return {
        "best": dict(point),
        "costs": net.cost(point),
        "alpha": {name: alpha.detach().cpu() for name, alpha in net.alpha.items()},
        "weights": to_cpu(net.state_dict()),
        "losses": losses,
    }


def _endless(task: Task, epoch: int = 0) -> Iterator[Any]:
    """Validation batches for ever, from another one in every epoch."""
    batches = list(task.batches("valid"))
    start = epoch % len(batches)
    return itertools.cycle(batches[start:] + batches[:start])
