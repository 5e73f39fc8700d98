"""`fit`: one ordinary training loop, for a network, a supernet that samples paths, or a derived network.

It knows nothing of searches. Losses, optimizers and schedulers are torch's; automatic mixed precision, an exponential
moving average of the weights (Polyak and Juditsky 1992; torch's `AveragedModel`), gradient clipping, early stopping and
resuming are arguments. Whatever it cannot do, a loop of the user's own can: nothing else here depends on it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from modularnas.errors import EvaluationError, StorageError

__all__ = ["Fit", "fit", "measure"]

Loss = Callable[[Any, Tensor], Tensor]
#: A function (outputs, targets) of a whole pass, or an object with `update`, `compute`, `reset` (torchmetrics).
Metric = Any
#: In a checkpoint: what has a `state_dict`.
_PARTS = ("net", "optimizer", "scheduler", "scaler", "average")


@dataclass
class Fit:
    """What a training gave.

    Attributes:
        net: the trained network, in eval mode, with the best weights if there was a validation.
        history: for each epoch its `loss`, the metrics of the validation, and `seconds`.
        best_epoch: the epoch whose weights these are; the last one without a validation.
        seconds: of all epochs, those before a resume included.
    """

    net: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    seconds: float = 0.0

    @property
    def best(self) -> dict[str, float]:
        """The record of the best epoch."""
        return self.history[self.best_epoch] if self.history else {}


def fit(
    net: nn.Module,
    train: Iterable[Any],
    valid: Iterable[Any] | None = None,
    *,
    epochs: int,
    loss: Loss = nn.functional.cross_entropy,
    optimizer: torch.optim.Optimizer | Callable[[Iterable[Tensor]], torch.optim.Optimizer] | None = None,
    scheduler: Callable[[torch.optim.Optimizer, int], torch.optim.lr_scheduler.LRScheduler] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    best: tuple[str, str] = ("loss", "min"),
    patience: int | None = None,
    amp: torch.dtype | None = None,
    ema: float | None = None,
    clip_norm: float | None = None,
    transform: Callable[[Any, Tensor], tuple[Any, Tensor]] | None = None,
    strategy: Any = None,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Fit:
    """Trains a network.

    Args:
        net: the network; trained in place.
        train: batches (inputs, targets) of an epoch: a `DataLoader`, a list, or any iterable that starts anew.
            Several inputs are a tuple. If it (or its sampler) has `set_epoch`, that is called before each epoch.
        valid: batches to validate on after each epoch; without them the last weights are the result.
        epochs: how many.
        loss: a function of (outputs, targets).
        optimizer: of `torch.optim`, or a function of the parameters; None: SGD, momentum 0.9, rate 0.05, decay 5e-4.
        scheduler: a function of (optimizer, number of steps), stepped after each batch; None: cosine to 0.
        metrics: by name, functions of (outputs, targets) of the whole validation, or objects with `update`, `compute`
            and `reset` (torchmetrics).
        best: the metric of the best weights, and "max" or "min"; `loss` is the validation's.
        patience: stops after so many epochs without a better one.
        amp: the dtype of automatic mixed precision, such as `torch.bfloat16`; None: off.
        ema: decay of a moving average of the weights, which is validated and returned; None: off.
        clip_norm: the largest norm of the gradient.
        transform: a function of a batch's (inputs, targets), such as mixup.
        strategy: how a supernet trains (`mn.train`): an object with `step(net, loss_fn, batch, backward=) -> loss`.
        checkpoint: a file that is written after each epoch, and from which a run that was cut goes on.
        device: where to train; None: where the network is.
        progress: whether to show a line with loss, metrics and time left.

    Returns:
        The network and the history.

    Raises:
        EvaluationError: if the loss is not finite, a metric is unknown, or there are no batches.
        StorageError: if the checkpoint is of another run.

    Example:
        >>> x, y = torch.randn(64, 4), torch.arange(64) % 2
        >>> data = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]
        >>> done = mn.train.fit(nn.Linear(4, 2), data, data, epochs=3, progress=False)
        >>> len(done.history), sorted(done.best)
        (3, ['loss', 'seconds', 'train_loss'])
    """
    if epochs < 1:
        raise EvaluationError(f"fit is given epochs={epochs}; expected 1 or more")
    if best[1] not in ("max", "min") or (valid is not None and best[0] not in {"loss", *(metrics or {})}):
        known = ", ".join(["loss", *(metrics or {})])
        raise EvaluationError(f"fit is given best={best!r}; expected one of {known} and 'max' or 'min'")
    place = (
        torch.device(device) if device is not None else next((p.device for p in net.parameters()), torch.device("cpu"))
    )
    net.to(place)
    n_batches = _length(train)
    run = _Run(net, optimizer, scheduler, epochs * n_batches, place, amp, ema)
    done = Fit(net)
    kept: dict[str, Tensor] | None = None
    if checkpoint is not None and Path(checkpoint).exists():
        kept = run.load(Path(checkpoint), done, epochs)
    bar = _Bar(epochs, n_batches, len(done.history)) if progress else None
    for epoch in range(len(done.history), epochs):
        if patience is not None and epoch - 1 - done.best_epoch >= patience and epoch > 0:
            break
        started_s = time.monotonic()
        for part in (train, getattr(train, "sampler", None)):
            getattr(part, "set_epoch", lambda _: None)(epoch)
        net.train()
        total, n = 0.0, 0
        for batch in train:
            value = run.step(_to(batch, place), loss, clip_norm, transform, strategy)
            total, n = total + value, n + 1
            if value != value or value in (float("inf"), float("-inf")):
                raise EvaluationError(
                    f"the loss is {value} in epoch {epoch}, batch {n - 1}; lower the rate, or clip_norm="
                )
            if bar is not None:
                bar(epoch, n, done.history, value)
        record = {"train_loss": total / max(n, 1)}
        if valid is not None:
            record |= measure(run.shown, valid, {"loss": loss, **(metrics or {})}, device=place, amp=amp)
        else:
            record["loss"] = record["train_loss"]
        record["seconds"] = time.monotonic() - started_s
        done.seconds += record["seconds"]
        done.history.append(record)
        sign = 1 if best[1] == "max" else -1
        if valid is None or done.best_epoch < 0 or sign * record[best[0]] > sign * done.best[best[0]]:
            done.best_epoch = epoch
            kept = (
                {name: tensor.clone() for name, tensor in run.shown.state_dict().items()} if valid is not None else None
            )
        if checkpoint is not None:
            run.save(Path(checkpoint), done, kept, epochs)
    if bar is not None:
        bar.close()
    if kept is None and ema is not None:
        kept = run.shown.state_dict()
    if kept is not None:
        net.load_state_dict(kept)
    net.eval()
    return done


class _Run:
    """The parts of a training that have a state."""

    def __init__(
        self, net: nn.Module, optimizer: Any, scheduler: Any, n_steps: int, device: torch.device, amp: Any, ema: Any
    ) -> None:
        self.net = net
        self.device = device
        self.amp = amp
        if optimizer is None:
            optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
        self.optimizer = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(net.parameters())
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR
        self.scheduler = (scheduler or cosine)(self.optimizer, n_steps)
        self.scaler = torch.amp.grad_scaler.GradScaler(device.type, enabled=amp is torch.float16)
        average = None if ema is None else AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=False)
        self.average = average

    @property
    def shown(self) -> nn.Module:
        """The network that is validated and returned."""
        if self.average is None:
            return self.net
        # Averages are of parameters; buffers (running statistics, which average themselves) are the network's.
        for mine, theirs in zip(self.average.module.buffers(), self.net.buffers(), strict=True):
            mine.copy_(theirs)
        return self.average.module

    def step(self, batch: Any, loss: Loss, clip_norm: float | None, transform: Any, strategy: Any) -> float:
        """One step of the optimizer; the loss."""
        x, y = batch if transform is None else transform(*batch)

        def loss_fn(net: nn.Module, batch: Any) -> Tensor:
            with torch.autocast(self.device.type, self.amp or torch.bfloat16, enabled=self.amp is not None):
                return loss(_call(net, batch[0]), batch[1])

        self.optimizer.zero_grad()
        if strategy is None:
            value = loss_fn(self.net, (x, y))
            self.scaler.scale(value).backward()
        else:
            value = strategy.step(self.net, loss_fn, (x, y), backward=lambda total: self.scaler.scale(total).backward())
        if clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.net.parameters(), clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.net)
        return float(value.detach())

    def save(self, path: Path, done: Fit, kept: Any, epochs: int) -> None:
        """Writes a checkpoint; a process that is killed meanwhile leaves the one before."""
        state = {name: part.state_dict() for name in _PARTS if (part := getattr(self, name)) is not None}
        state |= {"history": done.history, "best_epoch": done.best_epoch, "seconds": done.seconds, "kept": kept}
        state |= {"epochs": epochs, "random": torch.get_rng_state()}
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f"{path.name}.{os.getpid()}")
        torch.save(state, half)
        half.replace(path)

    def load(self, path: Path, done: Fit, epochs: int) -> Any:
        """Goes on where a checkpoint was written; returns its best weights."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            for name in _PARTS:
                part = getattr(self, name)
                if part is not None:
                    part.load_state_dict(state[name])
            if state["epochs"] != epochs:
                raise ValueError(f"it is of {state['epochs']} epochs, not {epochs}")
        except (KeyError, ValueError, RuntimeError, EOFError) as error:
            raise StorageError(
                f"'{path}' is no checkpoint of this training: {error}; remove it, or give another checkpoint="
            ) from error
        torch.set_rng_state(state["random"].cpu())
        done.history, done.best_epoch, done.seconds = state["history"], state["best_epoch"], state["seconds"]
        return state["kept"]


def measure(
    net: nn.Module,
    batches: Iterable[Any],
    metrics: Mapping[str, Metric],
    *,
    device: str | torch.device | None = None,
    amp: torch.dtype | None = None,
) -> dict[str, float]:
    """Metrics of a network over all batches (inputs, targets), in eval mode; its mode is as before afterwards.

    Args:
        net: the network.
        batches: as of `fit`.
        metrics: as of `fit`.
        device: where the network is; None: found from its parameters.
        amp: as of `fit`.

    Raises:
        EvaluationError: if there are no batches.

    Example:
        >>> accuracy = lambda outputs, targets: (outputs.argmax(1) == targets).float().mean()
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> mn.train.measure(nn.Identity(), [(x, torch.tensor([0, 0]))], {"accuracy": accuracy})
        {'accuracy': 0.5}
    """
    place = (
        torch.device(device) if device is not None else next((p.device for p in net.parameters()), torch.device("cpu"))
    )
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    outputs: list[Any] = []
    targets: list[Tensor] = []
    streaming = {name: metric for name, metric in metrics.items() if hasattr(metric, "update")}
    for metric in streaming.values():
        metric.reset()
    try:
        with torch.no_grad(), torch.autocast(place.type, amp or torch.bfloat16, enabled=amp is not None):
            for batch in batches:
                x, y = _to(batch, place)
                out = _call(net, x)
                for metric in streaming.values():
                    metric.update(_first(out), y)
                if len(streaming) < len(metrics):
                    outputs.append(_first(out))
                    targets.append(y)
    finally:
        for module, training in modes:
            module.training = training
    if not outputs and len(streaming) < len(metrics):
        raise EvaluationError("there are no batches to measure on")
    whole = (torch.cat(outputs).float(), torch.cat(targets)) if outputs else ()
    return {name: float(metric.compute() if name in streaming else metric(*whole)) for name, metric in metrics.items()}


def _first(outputs: Any) -> Tensor:
    """Of a network with an auxiliary head the outputs that count."""
    return outputs[0] if isinstance(outputs, (tuple, list)) else outputs  # type: ignore[no-any-return]


def _call(net: nn.Module, x: Any) -> Any:
    return net(*x) if isinstance(x, (tuple, list)) else net(x)


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    return tuple(_to(part, device) for part in batch)


def _length(batches: Any) -> int:
    try:
        n = len(batches)
    except TypeError:
        n = sum(1 for _ in batches)
    if n == 0:
        raise EvaluationError("there are no batches to train on")
    return n


class _Bar:
    """A line with the loss, the last validation and the time left: tqdm's where it is installed, else one an epoch."""

    def __init__(self, epochs: int, n_batches: int, first: int) -> None:
        self.epochs, self.n_batches, self.first = epochs, n_batches, first
        self.started_s = time.monotonic()
        self.bar: Any = None
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            return
        self.bar = tqdm(total=epochs * n_batches, initial=first * n_batches, unit="batch", file=sys.stderr, leave=False)

    def __call__(self, epoch: int, n: int, history: Sequence[dict[str, float]], loss: float) -> None:
        last = {name: f"{value:.4g}" for name, value in (history[-1] if history else {}).items() if name != "seconds"}
        text = f"epoch {epoch + 1}/{self.epochs}, loss {loss:.4g}" + "".join(f", {k} {v}" for k, v in last.items())
        if self.bar is not None:
            self.bar.set_description_str(text, refresh=False)
            self.bar.update()
        elif n == self.n_batches:
            left = (time.monotonic() - self.started_s) / (epoch + 1 - self.first) * (self.epochs - epoch - 1)
            print(f"{text}, {left:.0f} s left", file=sys.stderr)

    def close(self) -> None:
        """Ends the line."""
        if self.bar is not None:
            self.bar.close()
