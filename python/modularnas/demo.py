"""The main job once, end to end, on real pictures: `modularnas demo`.

torchvision's ResNet-18 for small pictures becomes a supernet of kernel sizes; an ordinary training loop trains it; a
search under accuracy and multiply-accumulates runs beside random search with the same budget; the best network is
derived, fine-tuned, exported and loaded again by a process that knows torch alone. What is printed last compares it
with the unsearched network, trained as long, and with random search's best, whichever wins.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas import evaluate, rules, search
from modularnas.errors import MissingExtraError, ModularNASError
from modularnas.study import Study
from modularnas.tasks.image import ArraysOnly
from modularnas.transform import Supernet, derive, export, rewrite

__all__ = ["Pictures", "Plan", "load_cifar10", "load_digits", "run"]

Say = Callable[[str], None]
Part = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures: float32 `(N, C, H, W)` in [-1, 1] and int64 `(N,)`, for training, validation and test."""

    train: Part
    valid: Part
    test: Part
    name: str

    def to(self, device: str) -> Pictures:
        """The same on a device."""
        return self.map(lambda part: (part[0].to(device), part[1].to(device)))

    def first(self, n: int) -> Pictures:
        """At most `n` pictures of each kind."""
        return self.map(lambda part: (part[0][:n], part[1][:n]))

    def map(self, change: Callable[[Part], Part]) -> Pictures:
        """The same with each kind changed."""
        return Pictures(change(self.train), change(self.valid), change(self.test), self.name)


@dataclass(frozen=True)
class Plan:
    """How much of everything; the default ends within five minutes on two cores."""

    epochs: int = 6
    fine_tune_epochs: int = 3
    trials: int = 40
    population: int = 15
    batch_size: int = 64
    n_calibration: int = 4


def load_digits() -> Pictures:
    """scikit-learn's 1,797 real handwritten digits of 8 x 8 pixels: 1,000 to train, 397 to validate, 400 to test."""
    try:
        from sklearn.datasets import load_digits as load
    except ModuleNotFoundError as error:
        raise _missing("scikit-learn") from error
    digits = load()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    y = torch.tensor(digits.target, dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    return Pictures((x[:1000], y[:1000]), (x[1000:1397], y[1000:1397]), (x[1397:], y[1397:]), "digits")


def load_cifar10(path: str | Path, n_train: int | None = None, n_valid: int = 1000, image_size: int = 32) -> Pictures:
    """CIFAR-10 from a folder of the official Python batches (torchvision's layout too) or from our small `.npz`.

    Args:
        path: `cifar-10-batches-py`, a folder that holds it, or a `.npz` with `train_d`, `train_y`, `test_d`, `test_y`
            (pixels as differences).
        n_train: how many training pictures to use; None: all but the validation pictures.
        n_valid: how many of the training pictures to validate on.
        image_size: pictures are resized to it, in pixels.

    Raises:
        ModularNASError: if the path holds neither, saying what was expected.
    """
    path = Path(path)
    try:
        train_x, train_y, test_x, test_y = _read_npz(path) if path.suffix == ".npz" else _read_batches(path)
    except (OSError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise ModularNASError(
            f"'{path}' holds no CIFAR-10: {error}; expected the folder cifar-10-batches-py or a .npz with "
            "train_d, train_y, test_d, test_y"
        ) from error

    def pictures(x: NDArray[Any], y: NDArray[Any]) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(np.ascontiguousarray(x)).float() / 127.5 - 1
        if image_size != pixels.shape[-1]:
            pixels = nn.functional.interpolate(pixels, size=image_size, mode="area")
        return pixels, torch.from_numpy(np.asarray(y)).long()

    x, y = pictures(train_x, train_y)
    n_train = len(x) - n_valid if n_train is None else min(n_train, len(x) - n_valid)
    split = (x[:n_train], y[:n_train]), (x[-n_valid:], y[-n_valid:])
    return Pictures(*split, pictures(test_x, test_y), "cifar10")


def _read_npz(path: Path) -> tuple[NDArray[Any], ...]:
    def undo_differences(d: NDArray[Any]) -> NDArray[Any]:
        x = np.cumsum(np.cumsum(d, axis=2, dtype=np.uint8), axis=3, dtype=np.uint8)
        x[:, 0] += x[:, 1]
        x[:, 2] += x[:, 1]
        return x

    with np.load(path, allow_pickle=False) as file:
        return (
            undo_differences(file["train_d"]), file["train_y"], undo_differences(file["test_d"]), file["test_y"],
        )  # fmt: skip


def _read_batches(folder: Path) -> tuple[NDArray[Any], ...]:
    inner = folder / "cifar-10-batches-py"
    folder = inner if inner.is_dir() else folder

    def read(name: str) -> tuple[NDArray[Any], list[int]]:
        with open(folder / name, "rb") as file:
            batch = ArraysOnly(file, encoding="bytes").load()
        return batch[b"data"].reshape(-1, 3, 32, 32), batch[b"labels"]

    train = [read(f"data_batch_{i}") for i in range(1, 6)]
    test = read("test_batch")
    labels = np.concatenate([y for _, y in train])
    return np.concatenate([x for x, _ in train]), labels, test[0], np.asarray(test[1])


def run(
    pictures: Pictures,
    out: str | Path,
    *,
    device: str = "cpu",
    plan: Plan | None = None,
    seed: int = 0,
    say: Say = print,
) -> dict[str, Any]:
    """Runs the demo and returns its table: method to test accuracy, MACs and parameters.

    Args:
        pictures: from `load_digits` or `load_cifar10`.
        out: a folder for the studies, the picture and the exported network; a run that was cut goes on there.
        device: where to train, such as `"cpu"` or `"cuda"`.
        plan: how much of everything.
        seed: of everything random.
        say: called with each line of output.

    Raises:
        MissingExtraError: without the packages of the extra `demo`.
    """
    plan = plan or Plan()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    started_s = time.monotonic()

    def step(text: str) -> None:
        say(f"[{time.monotonic() - started_s:4.0f} s] {text}")

    pictures = pictures.to(device)
    net = small_resnet18(pictures.train[0].shape[1], 10).to(device)
    x = pictures.test[0][:8]
    step(f"ResNet-18 for {pictures.name}, {tuple(x.shape[1:])} pixels, {len(pictures.train[0])} to train on {device}")
    supernet = rewrite(net, [rules.kernel_size(3, 5, 7)], example=x[:1])
    given = supernet.original_point
    assert given is not None
    step(f"supernet: {supernet.space}")

    step(f"training the supernet, {plan.epochs} epochs of random paths")
    supernet.sampling("uniform", seed=seed)
    fit(supernet, pictures, plan.epochs, plan, 0.02, seed, "supernet")
    supernet.sampling(None)
    step(f"training the unsearched network as long, {plan.epochs + plan.fine_tune_epochs} epochs")
    alone = fit(copy.deepcopy(net), pictures, plan.epochs + plan.fine_tune_epochs, plan, 0.02, seed, "unsearched")

    calibration = list(batches(pictures.train, plan.batch_size, seed=seed))[: plan.n_calibration]
    evaluator = evaluate.SharedWeights(
        supernet, lambda candidate: accuracy(candidate, pictures.valid), calibration=calibration
    )
    # Two thirds of the budget at least are left to evolve.
    population = min(plan.population, max(2, plan.trials // 3))
    algorithms = {
        "searched": search.RegularizedEvolution(population=population, sample=max(2, population // 4)),
        "random": search.Random(),
    }
    studies = {}
    for name, algorithm in algorithms.items():
        step(f"{algorithm}: {plan.trials} candidates")
        file = out / f"{name}.db"
        file.unlink(missing_ok=True)  # scores of another supernet
        study = Study(supernet.space, algorithm, {"accuracy": "max", "macs": "min"}, storage=file, seed=seed)
        study.optimize(evaluator, trials=plan.trials)
        studies[name] = study
    say(front_table(studies["searched"]))
    plot(studies, supernet, evaluator, out / "pareto.png")
    step(f"Pareto fronts drawn in {out / 'pareto.png'}")

    nets = {"unsearched": alone}
    for name, study in studies.items():
        best = choose(study, supernet.cost(given)["macs"])
        step(f"fine-tuning the best of {name}, {plan.fine_tune_epochs} epochs")
        nets[name] = fit(derive(supernet, best.point), pictures, plan.fine_tune_epochs, plan, 0.005, seed, name)
    folder = export(nets["searched"].eval(), out / "best", example=x)
    step(f"exported to {folder}")
    say(reload(folder, nets["searched"], x, out))

    table = {name: result(net, pictures, x[:1]) for name, net in nets.items()}
    say(result_table(table, plan))
    step("done")
    return table


def small_resnet18(in_channels: int, num_classes: int) -> nn.Module:
    """The ResNet-18 of torchvision with the usual stem for small pictures: 3 x 3, stride 1, no pooling."""
    try:
        from torchvision.models import resnet18
    except ModuleNotFoundError as error:
        raise _missing("torchvision") from error
    net = resnet18(num_classes=num_classes)
    net.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net  # type: ignore[no-any-return]


def batches(data: tuple[Tensor, Tensor], size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches; a last one of a single picture is left out, since batch norms cannot use it."""
    x, y = data
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    for start in range(0, len(order), size):
        part = order[start : start + size]
        if len(part) > 1:
            yield x[part], y[part]


def fit(net: nn.Module, pictures: Pictures, epochs: int, plan: Plan, lr: float, seed: int, name: str) -> nn.Module:
    """An ordinary training loop: SGD with momentum, cosine decay, cross-entropy. It knows nothing of supernets."""
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    n_steps = epochs * len(list(batches(pictures.train, plan.batch_size, 0)))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for epoch in bar(range(epochs), name):
        for x, y in batches(pictures.train, plan.batch_size, seed + epoch):
            loss = nn.functional.cross_entropy(net(shift(x)), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            scheduler.step()
    return net.eval()


def shift(x: Tensor) -> Tensor:
    """Moves a batch by up to an eighth of its size: the augmentation."""
    most = x.shape[-1] // 8
    dx, dy = (int(torch.randint(-most, most + 1, ()).item()) for _ in range(2))
    return torch.roll(x, (dy, dx), (2, 3)) if dx or dy else x


def accuracy(net: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """The share of pictures that a network in eval mode gets right."""
    x, y = data
    with torch.no_grad():
        right = [int((net(x[i : i + 256]).argmax(1) == y[i : i + 256]).sum()) for i in range(0, len(x), 256)]
    return sum(right) / len(x)


def choose(study: Study, macs: int) -> Any:
    """The most accurate trial of the front that costs no more than the given network; else the most accurate."""
    front = study.pareto_front
    affordable = [trial for trial in front if trial.values["macs"] <= macs]
    return max(affordable or front, key=lambda trial: trial.values["accuracy"])


def result(net: nn.Module, pictures: Pictures, x: Tensor) -> dict[str, float]:
    """What the last table says of a network."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(x)
    return {
        "test_accuracy": accuracy(net, pictures.test),
        "macs": counter.get_total_flops() // 2,
        "n_params": sum(parameter.numel() for parameter in net.parameters()),
    }


def front_table(study: Study) -> str:
    """The Pareto front as text."""
    rows = sorted(study.pareto_front, key=lambda trial: trial.values["macs"])
    lines = ["", "Pareto front   MMACs   validation accuracy (shared weights)"]
    lines += [f"  trial {t.number:4d} {t.values['macs'] / 1e6:9.1f}   {t.values['accuracy']:.4f}" for t in rows]
    return "\n".join([*lines, ""])


def result_table(table: dict[str, dict[str, float]], plan: Plan) -> str:
    """The comparison as text, with a verdict."""
    notes = {
        "unsearched": f"the given ResNet-18, {plan.epochs + plan.fine_tune_epochs} epochs from scratch",
        "searched": f"regularized evolution, {plan.trials} candidates, fine-tuned {plan.fine_tune_epochs} epochs",
        "random": f"random search, {plan.trials} candidates, fine-tuned {plan.fine_tune_epochs} epochs",
    }
    lines = ["", f"{'':12}{'test acc.':>10}{'MMACs':>10}{'M params':>10}"]
    lines += [
        f"{name:12}{row['test_accuracy']:10.4f}{row['macs'] / 1e6:10.1f}{row['n_params'] / 1e6:10.2f}   {notes[name]}"
        for name, row in table.items()
    ]
    best = max(table, key=lambda name: table[name]["test_accuracy"])
    ties = [name for name, row in table.items() if row["test_accuracy"] == table[best]["test_accuracy"]]
    verdict = f"most accurate: {' and '.join(ties)}"
    if "searched" not in ties:
        verdict += "; the search did not help here"
    return "\n".join([*lines, verdict, ""])


def plot(studies: dict[str, Study], supernet: Supernet, evaluator: evaluate.SharedWeights, path: Path) -> None:
    """All candidates and both fronts, accuracy over MACs."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise _missing("matplotlib") from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for (name, study), color in zip(studies.items(), ("tab:blue", "tab:orange"), strict=True):
        done = [trial for trial in study.trials if trial.state == "complete"]
        axes.scatter(
            [t.values["macs"] / 1e6 for t in done], [t.values["accuracy"] for t in done], s=10, alpha=0.35, color=color
        )
        front = sorted((t.values["macs"] / 1e6, t.values["accuracy"]) for t in study.pareto_front)
        axes.step([m for m, _ in front], [a for _, a in front], where="post", color=color, label=f"{name}: front")
    given = supernet.original_point
    values = evaluator.evaluate([_Given(given)])[0]
    axes.plot(values["macs"] / 1e6, values["accuracy"], "k*", markersize=12, label="unsearched, same weights")
    axes.set(xlabel="million multiply-accumulates", ylabel="validation accuracy, shared weights")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


@dataclass(frozen=True)
class _Given:
    """The given network in the place of a trial."""

    point: Any
    number: int = -1


_RELOAD = """
import importlib.util, sys, torch
spec = importlib.util.spec_from_file_location("model", sys.argv[1] + "/model.py")
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)
x, y = torch.load(sys.argv[2])
with torch.no_grad():
    difference = (model.load()(x) - y).abs().max().item()
assert "modularnas" not in sys.modules and difference < 1e-4
print(f"reloaded by a fresh process with torch alone: largest difference of the outputs {difference:.1e}")
"""


def reload(folder: Path, net: nn.Module, x: Tensor, out: Path) -> str:
    """Loads the export in a fresh process that imports torch only, and compares."""
    case = out / "case.pt"
    with torch.no_grad():
        torch.save((x.cpu(), net(x).cpu()), case)
    command = [sys.executable, "-c", _RELOAD, str(folder), str(case)]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    finally:
        case.unlink()


def bar(items: Iterable[int], name: str) -> Iterable[int]:
    """A progress bar where tqdm is installed."""
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        return items
    return tqdm(items, desc=name, unit="epoch", leave=False)  # type: ignore[no-any-return]


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(f'the demo needs {package}: pip install "modularnas[demo]"')
