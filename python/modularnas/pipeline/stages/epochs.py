"""Training by epochs that goes on inside after a crash: the loop of the stages that train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modularnas.pipeline.checkpoint import Checkpoint
from modularnas.pipeline.metrics import Report
from modularnas.pipeline.stages.task import Task

__all__ = ["run_epochs"]


def run_epochs(
    net: nn.Module,
    task: Task,
    epochs: int,
    step: Callable[[Any, torch.optim.Optimizer], Any],
    checkpoint: Checkpoint | None,
    report: Report | None,
    *,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    clip: float | None = 5.0,
    begin: Callable[[int], Any] | None = None,
    measure: Callable[[], Mapping[str, float]] = dict,
    also: Mapping[str, Any] | None = None,
) -> list[float]:
    """SGD with Nesterov momentum and cosine decay; returns the mean loss of each epoch.

    Args:
        net: what is trained, and kept at the end of each epoch.
        task: gives the batches.
        epochs: how many in all.
        step: `step(batch, optimizer)` fills the gradients and returns the loss; then the weights move.
        checkpoint: where a cut run goes on; None: none is kept.
        report: gets the loss, and what `measure` returns, of each epoch.
        lr: the first learning rate.
        momentum: of SGD.
        weight_decay: of SGD.
        clip: the largest norm of the gradients; None: any.
        begin: called with the number of each epoch, before it.
        measure: called at the end of each epoch.
        also: further objects with a state to keep (`state_dict` and `load_state_dict`), by name.
    """
    alphas = {id(parameter) for name, parameter in net.named_parameters() if "alpha" in name.split(".")}
    weights = [parameter for parameter in net.parameters() if id(parameter) not in alphas]
    optimizer = torch.optim.SGD(weights, lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    n_steps = epochs * sum(1 for _ in task.batches("train"))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(n_steps, 1))
    kept = {"net": net, "optimizer": optimizer, "scheduler": scheduler, **(also or {})}
    losses: list[float] = []
    state = checkpoint.load() if checkpoint is not None else None
    if state is not None:
        losses = state.pop("losses")
        for name, part in state.items():
            kept[name].load_state_dict(part)
    for epoch in range(len(losses), epochs):
        if begin is not None:
            begin(epoch)
        net.train()
        total, n_batches = 0.0, 0
        for batch in task.batches("train", epoch):
            optimizer.zero_grad()
            loss = step(batch, optimizer)
            if clip is not None:
                nn.utils.clip_grad_norm_(weights, clip)
            optimizer.step()
            scheduler.step()
            total += float(loss.detach() if isinstance(loss, Tensor) else loss)
            n_batches += 1
        losses.append(total / max(n_batches, 1))
        if report is not None:
            report(epoch, loss=losses[-1], **measure())
        if checkpoint is not None:
            checkpoint.save(losses=losses, **{name: part.state_dict() for name, part in kept.items()})
    return losses
