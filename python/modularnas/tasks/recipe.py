"""The recipe that all tasks follow: baseline, random architectures, supernet, search, the network found, a card."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modularnas import evaluate, search, spaces
from modularnas._core import SearchSpace, __version__
from modularnas.errors import ModularNASError
from modularnas.study import Study
from modularnas.train.fit import Fit, Metric, fit, measure
from modularnas.transform import Supernet, derive, export

__all__ = ["Batches", "Plan", "Result", "Task", "adamw", "costs", "names", "one_cycle", "register", "run"]

Inputs = Tensor | tuple[Tensor, ...]


@dataclass
class Batches:
    """Tensors in batches: (inputs, targets), in a new order each epoch if shuffled.

    The order is a function of seed and epoch, so a run that goes on from a checkpoint sees what it would have seen.

    Attributes:
        inputs: a tensor, or a tuple of tensors of the same length.
        targets: `(N, …)`.
        size: rows of a batch; a last single row is left out of shuffled batches, since batch norms cannot use it.
        shuffle: whether to shuffle, and to augment.
        seed: of the order.
        augment: a function (inputs, generator) of a batch, only where shuffled.
    """

    inputs: Inputs
    targets: Tensor
    size: int = 128
    shuffle: bool = False
    seed: int = 0
    augment: Callable[[Any, torch.Generator], Any] | None = None
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch's order comes next."""
        self.epoch = epoch

    def first(self, n: int) -> Batches:
        """Of the first `n` rows."""
        inputs = tuple(x[:n] for x in self.inputs) if isinstance(self.inputs, tuple) else self.inputs[:n]
        return replace(self, inputs=inputs, targets=self.targets[:n])

    def _starts(self) -> range:
        n = len(self.targets)
        return range(0, n - (n % self.size == 1 and self.shuffle), self.size)

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        n = len(self.targets)
        order = torch.randperm(n, generator=generator) if self.shuffle else torch.arange(n)
        for start in self._starts():
            rows = order[start : start + self.size]
            x: Any = tuple(x[rows] for x in self.inputs) if isinstance(self.inputs, tuple) else self.inputs[rows]
            if self.shuffle and self.augment is not None:
                x = self.augment(x, generator)
            yield x, self.targets[rows]


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        epochs: of each network that is trained alone.
        supernet_epochs: of the supernet.
        trials: candidates of each search.
        n_random: random architectures that are trained, of which the table has the mean.
        n_calibration: batches that batch norms are recalibrated on.
    """

    epochs: int = 10
    supernet_epochs: int = 20
    trials: int = 100
    n_random: int = 3
    n_calibration: int = 4

    @classmethod
    def smoke(cls) -> Plan:
        """As little of everything as runs through."""
        return cls(epochs=1, supernet_epochs=1, trials=4, n_random=1, n_calibration=1)

    def changed(self, numbers: Mapping[str, int]) -> Plan:
        """The plan with some other numbers.

        Raises:
            ModularNASError: if it has no such number, or one is below 1.
        """
        known = [field.name for field in fields(self)]
        for name, n in numbers.items():
            if name not in known or not isinstance(n, int) or n < 1:
                raise ModularNASError(
                    f"a plan is given {name}={n!r}; expected {', '.join(known)}, each a whole number from 1 on"
                )
        return replace(self, **numbers)


@dataclass(frozen=True)
class Task:
    """Data and model of a task.

    Attributes:
        name: what it is.
        train: batches to train on; `valid`: to search on; `test`: for the table alone.
        space: name and settings of a ready space.
        baseline: the unsearched network: the op of every slot, a point, or a function of the space that gives one;
            None: the supernet's original point.
        loss: of (outputs, targets).
        metrics: by name; the first is what counts, and more is better.
        optimizer: as of `mn.train.fit`.
        fit: further arguments of `mn.train.fit`.
    """

    name: str
    train: Any
    valid: Any
    test: Any
    space: tuple[str, dict[str, Any]]
    metrics: Mapping[str, Metric]
    baseline: str | Mapping[str, Any] | Callable[[SearchSpace], Any] | None = None
    loss: Callable[[Any, Tensor], Tensor] = nn.functional.cross_entropy
    optimizer: Any = None
    fit: dict[str, Any] = field(default_factory=dict)

    def unsearched(self, supernet: Supernet) -> Any:
        """The point of the unsearched network."""
        if self.baseline is None:
            if supernet.original_point is None:
                raise ModularNASError(
                    f"the space {self.space[0]!r} has no network that is the unsearched one; give the task a baseline="
                )
            return supernet.original_point
        if isinstance(self.baseline, str):
            return supernet.space.point({decision.name: self.baseline for decision in supernet.space.decisions})
        if callable(self.baseline):
            return self.baseline(supernet.space)
        return supernet.space.point(self.baseline)

    @property
    def metric(self) -> str:
        """The name of what counts."""
        return next(iter(self.metrics))


@dataclass(frozen=True)
class Result:
    """What a run gave.

    Attributes:
        table: by row (`baseline`, `random`, `random_search`, `searched`) the test metrics, `params`, `macs`,
            `latency_ms` and the `seconds` of training.
        point: the architecture that was found.
        net: its trained network.
        folder: where `card.md`, `result.json` and the network `best/` are.
        seconds: of everything.
        studies: the searches, by the row that they found.
    """

    table: dict[str, dict[str, float]]
    point: Any
    net: nn.Module
    folder: Path
    seconds: float
    studies: dict[str, Study]

    def __str__(self) -> str:
        return markdown(self.table)


def adamw(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) for trainings of a few hundred steps; see `one_cycle`."""
    return torch.optim.AdamW(parameters, 5e-3, weight_decay=0.01)


def one_cycle(optimizer: torch.optim.Optimizer, n_steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A `scheduler` of `fit`: the rates rise for three tenths of all steps, then fall.

    Smith and Topin 2017, arXiv 1708.07120. Without the rise deep narrow networks do not start in so few steps.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=n_steps)


_TASKS: dict[str, Callable[..., tuple[Task, Plan]]] = {}


def register(name: str) -> Callable[[Callable[..., tuple[Task, Plan]]], Callable[..., tuple[Task, Plan]]]:
    """Registers a task: a function (data, smoke, seed, **settings) that reads data and gives a task and its plan."""

    def add(build: Callable[..., tuple[Task, Plan]]) -> Callable[..., tuple[Task, Plan]]:
        _TASKS[name] = build
        return build

    return add


def whole(**numbers: int | None) -> None:
    """Refuses a setting that is no whole number from 1 on; None is the task's own.

    Raises:
        ModularNASError: saying which.
    """
    for name, n in numbers.items():
        if n is not None and (not isinstance(n, int) or n < 1):
            raise ModularNASError(f"{name} is {n!r}; expected a whole number from 1 on")


def names() -> list[str]:
    """The names of all tasks, sorted."""
    return sorted(_TASKS)


def run(
    task: str | Task,
    *,
    data: Any = None,
    out: str | Path,
    smoke: bool = False,
    seed: int = 0,
    device: str = "cpu",
    plan: Plan | Mapping[str, int] | None = None,
    progress: bool = False,
    **settings: Any,
) -> Result:
    """Runs a task from beginning to end.

    All networks of the table are trained from scratch with the same recipe and for as many epochs, on the training
    part; searches see the validation part, and only the table the test part.

    Args:
        task: one of `mn.tasks.names()`, or a `Task` of your own.
        data: the file or folder that the task reads, or its tensors (`mn.tasks.image.Pictures`).
        out: a folder for the card and the exported network.
        smoke: as little of everything as runs through, to see that it does.
        seed: of everything random.
        device: where to train.
        plan: how much of everything; None: the task's own; `{"epochs": 30}`: the task's own but for these.
        progress: whether to show bars.
        **settings: of the task, as its file says (`mn.tasks.voice.create`).

    Raises:
        ModularNASError: for an unknown task or plan, or data that it cannot read, before anything is trained.
    """
    started_s = time.monotonic()
    if isinstance(task, str):
        if task not in _TASKS:
            raise ModularNASError(f"there is no task {task!r}; there are {', '.join(names())}")
        if data is None:
            raise ModularNASError(f"the task {task!r} is given no data=; mn.tasks.{task}.create says what it reads")
        task, own = _TASKS[task](data, smoke=smoke, seed=seed, **settings)
    else:
        own = Plan.smoke() if smoke else Plan()
    if not isinstance(plan, Plan):
        plan = own.changed(plan or {})
    return _Recipe(task, plan, Path(out), seed, device, progress).run(started_s)


class _Recipe:
    def __init__(self, task: Task, plan: Plan, out: Path, seed: int, device: str, progress: bool) -> None:
        self.task, self.plan, self.out, self.seed = task, plan, out, seed
        self.device, self.progress = device, progress
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        name, settings = task.space
        supernet, self.example = spaces.create(name, **settings)
        self.supernet: Supernet = supernet.to(device)
        self.example = _at(self.example, device)

    def run(self, started_s: float) -> Result:
        """Baseline and random architectures from fresh weights, the supernet, the searches, and what they found."""
        given = self.task.unsearched(self.supernet)
        fresh = self.supernet.space.samples(self.plan.n_random, seed=self.seed)
        nets = {"baseline": [derive(self.supernet, given)], "random": [derive(self.supernet, p) for p in fresh]}
        start = {name: tensor.clone() for name, tensor in self.supernet.state_dict().items()}
        studies = self._search()
        points = {name: study.best_trial.point for name, study in studies.items()}
        self.supernet.load_state_dict(start)  # what was found starts from fresh weights like the others
        nets |= {name: [derive(self.supernet, point)] for name, point in points.items()}
        rows = {name: [self._train(net) for net in some] for name, some in nets.items()}
        table = {
            name: {key: statistics.fmean(row[key] for _, row in some) for key in some[0][1]}
            for name, some in rows.items()
        }
        net = rows["searched"][0][0]
        export(net, self.out / "best", example=_at(self.example, "cpu"))
        result = Result(table, points["searched"], net, self.out, time.monotonic() - started_s, studies)
        self._write(result)
        return result

    def _search(self) -> dict[str, Study]:
        # Searched before anything is trained in a copy, so that all candidates share the same supernet.
        self.supernet.sampling("uniform", seed=self.seed)
        self._fit(self.supernet, self.plan.supernet_epochs, None)
        self.supernet.sampling(None)
        metric = self.task.metric
        calibration = [batch for batch, _ in zip(self.task.train, range(self.plan.n_calibration), strict=False)]
        calibration = [_at(batch, self.device) for batch in calibration]

        def score(net: nn.Module) -> dict[str, float]:
            return measure(net, self.task.valid, {metric: self.task.metrics[metric]}, device=self.device)

        evaluator = evaluate.SharedWeights(self.supernet, score, calibration=calibration)
        population = min(50, max(2, self.plan.trials // 4))
        algorithms: dict[str, Any] = {
            "random_search": search.Random(),
            "searched": search.RegularizedEvolution(population=population, sample=max(2, population // 4)),
        }
        studies = {}
        for name, algorithm in algorithms.items():
            studies[name] = Study(self.supernet.space, algorithm, objectives={metric: "max"}, seed=self.seed)
            studies[name].optimize(evaluator, trials=self.plan.trials, progress=self.progress)
        return studies

    def _fit(self, net: nn.Module, epochs: int, valid: Any) -> Fit:
        torch.manual_seed(self.seed)
        return fit(
            net,
            self.task.train,
            valid,
            epochs=epochs,
            loss=self.task.loss,
            optimizer=self.task.optimizer,
            metrics=self.task.metrics,
            best=(self.task.metric, "max"),
            device=self.device,
            progress=self.progress,
            **self.task.fit,
        )

    def _train(self, net: nn.Module) -> tuple[nn.Module, dict[str, float]]:
        done = self._fit(net, self.plan.epochs, self.task.valid)
        row = measure(net, self.task.test, self.task.metrics, device=self.device)
        row |= costs(net, self.example) | {"seconds": done.seconds}
        return net, row

    def _write(self, result: Result) -> None:
        card = {
            "task": self.task.name,
            "space": {"name": self.task.space[0], **{k: v for k, v in self.task.space[1].items() if _plain(v)}},
            "points": str(self.supernet.space.size),
            "architecture": json.loads(result.point.to_json()),
            "plan": vars(self.plan),
            "seed": self.seed,
            "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, device {self.device}",
            "versions": {"modularnas": __version__, "torch": torch.__version__},
            "seconds": round(result.seconds, 1),
            "table": result.table,
        }
        (self.out / "result.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        lines = [f"# {self.task.name}", "", markdown(result.table), ""]
        lines += [f"- {key}: {card[key]}" for key in card if key not in ("task", "table")]
        (self.out / "card.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, type(None))) or (
        isinstance(value, Sequence) and len(value) <= 40 and all(map(_plain, value))
    )


def costs(net: nn.Module, example: Any, repeats: int = 20) -> dict[str, float]:
    """Parameters, multiply-adds (half of what torch counts) and the median latency of one forward of an example.

    On a CPU the latency is of one thread and in its own time, which other programs disturb least.
    """
    from torch.utils.flop_counter import FlopCounterMode

    args = example if isinstance(example, tuple) else (example,)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(*args)
    device = args[0].device
    clock: Any = "cpu" if device.type == "cpu" else "wall"
    timing = evaluate.measure_latency(net, args, device=device, repeats=repeats, clock=clock)
    return {
        "params": sum(parameter.numel() for parameter in net.parameters()),
        "macs": counter.get_total_flops() // 2,
        "latency_ms": timing.median_ms,
    }


def markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """A table of rows of numbers as markdown."""
    columns = list(dict.fromkeys(key for row in table.values() for key in row))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(_number(row.get(key)) for key in columns)} |" for name, row in table.items()]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _at(value: Any, device: str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return type(value)(_at(part, device) for part in value)


def part(rows: Iterable[int] | Tensor, inputs: Inputs, targets: Tensor, **settings: Any) -> Batches:
    """Batches of some rows."""
    index = torch.as_tensor(rows)
    x = tuple(x[index] for x in inputs) if isinstance(inputs, tuple) else inputs[index]
    return Batches(x, targets[index], **settings)
