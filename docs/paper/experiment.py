"""What the scripts of the paper's tables share: the methods by their published names, and how a row is run.

A table is a YAML file beside its script: its rows with the published figures, its spaces, and recipes by size: `smoke`
(to see that everything runs), `cpu` (what docs/results.md shows) and `gpu` (the full one). All rows of a table are
trained alike: a method gives an architecture, and its network is trained from fresh weights and tested.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from scipy.stats import chi2_contingency, kendalltau
from torch import nn

import modularnas as mn
from modularnas.tasks.recipe import costs
from modularnas.train import fit, measure

HERE = Path(__file__).parent
#: Files of the research data, by the name that the tables use.
FILES = {"C10": "cifar10_small.npz", "C100": "cifar100_small.npz", "voice": "fsdd_8k.npz", "CTR": "ctr_small.npz"}
#: How many samples their tests have.
TESTED = {"C10": 2000, "C100": 1000, "ImageNet": 2000, "voice": 300}


@dataclass
class Run:
    """A task with a supernet of fresh weights, and how much of everything."""

    task: mn.tasks.Task
    recipe: dict[str, Any]
    seed: int
    device: str
    supernet: Any = None  # instead of the task's own space

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        name, settings = self.task.space
        self.supernet = self.supernet or mn.spaces.create(name, **settings)[0]
        if self.recipe.get("initialise"):
            mn.ops.initialise(self.supernet)
        self.supernet.to(self.device)
        x, _ = next(iter(self.task.valid))
        self.example = tuple(part[:1].to(self.device) for part in (x if isinstance(x, tuple) else (x,)))
        self.fresh = {key: value.clone() for key, value in self.supernet.state_dict().items()}

    def loss(self, net: nn.Module, batch: Any) -> torch.Tensor:
        x, y = batch
        return self.task.loss(net(*x) if isinstance(x, tuple) else net(x), y)

    def score(self, net: nn.Module) -> dict[str, float]:
        metric = self.task.metric
        return measure(net, self.task.valid, {metric: self.task.metrics[metric]}, device=self.device)

    def train(self, net: nn.Module, epochs: int, valid: Any = None) -> nn.Module:
        torch.manual_seed(self.seed)
        task = self.task
        settings = dict(loss=task.loss, optimizer=task.optimizer, metrics=task.metrics, best=(task.metric, "max"))
        return fit(
            net, task.train, valid, epochs=epochs, device=self.device, progress=False, **settings, **task.fit
        ).net

    def network(self, point: Any) -> nn.Module:
        """The network of a point with fresh weights; of a cell, at the size of the recipe."""
        retrain = self.recipe.get("retrain")
        if retrain and self.task.space[0] == "darts":
            classes = self.task.space[1]["num_classes"]
            return mn.spaces.darts.from_genotype(mn.spaces.darts.genotype(point), num_classes=classes, **retrain)
        self.supernet.load_state_dict(self.fresh, strict=False)
        return mn.derive(self.supernet, point)

    def shared_weights(self) -> mn.evaluate.SharedWeights:
        batches = [batch for batch, _ in zip(self.task.train, range(2), strict=False)]
        return mn.evaluate.SharedWeights(self.supernet, self.score, calibration=batches)

    def study(self, algorithm: Any) -> mn.Study:
        return mn.Study(self.supernet.space, algorithm, objectives={self.task.metric: "max"}, seed=self.seed)


def hardware() -> str:
    """What this runs on, in words."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, 1 thread, torch {torch.__version__}"


def settings(recipe: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a task; an optimizer is torch's, by name."""
    given = dict(recipe["data"])
    if "optimizer" in given:
        made = dict(given["optimizer"])
        given["optimizer"] = functools.partial(getattr(torch.optim, made.pop("name")), **made)
    return given


def of_row(recipe: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a row: what differs for its space, then for its data, stands under `differs`."""
    for name in (row["space"], row["data"]):
        own = recipe.get("differs", {}).get(name, {})
        recipe = {**recipe, **own, "data": {**recipe["data"], **own.get("data", {})}}
    return recipe


def evolution(run: Run) -> Any:
    population = max(2, run.recipe["trials"] // 4)
    return mn.search.RegularizedEvolution(population=population, sample=max(2, population // 4))


def random(run: Run) -> Any:
    return mn.search.Random()


def one_shot(algorithm: Callable[[Run], Any]) -> Callable[[Run], Any]:
    """SPOS: a supernet trained by uniform paths, then a search with its weights."""

    def method(run: Run) -> Any:
        run.supernet.sampling("uniform", seed=run.seed)
        run.train(run.supernet, run.recipe["search_epochs"])
        run.supernet.sampling(None)
        study = run.study(algorithm(run))
        study.optimize(run.shared_weights(), trials=run.recipe["trials"], progress=False)
        return study.best_trial.point

    return method


def continuous(algorithm: Callable[[Run], Any]) -> Callable[[Run], Any]:
    """CARS (Yang et al. 2019, arXiv 1909.04977): the supernet is trained on the candidates while they evolve."""

    def method(run: Run) -> Any:
        study = run.study(algorithm(run))
        optimizer = torch.optim.SGD(run.supernet.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
        rounds = run.recipe["search_epochs"]
        for _ in range(rounds):
            trials = study.ask(max(1, run.recipe["trials"] // rounds))
            paths = itertools.cycle(trials)
            run.supernet.train()
            for x, y in run.task.train:
                run.supernet.activate(next(paths).point)
                optimizer.zero_grad()
                run.loss(run.supernet, (x, y)).backward()
                nn.utils.clip_grad_norm_(run.supernet.parameters(), 5.0)
                optimizer.step()
            study.tell_and_ask(list(zip(trials, run.shared_weights().evaluate(trials), strict=True)), 0)
        return study.best_trial.point

    return method


def alone(run: Run) -> Any:
    """Random search in which every candidate is trained by itself."""

    def score(point: Any) -> dict[str, float]:
        return run.score(run.train(run.network(point), run.recipe["epochs"]))

    study = run.study(mn.search.Random())
    study.optimize(score, trials=run.recipe["alone"], progress=False)
    return study.best_trial.point


def gradient(make: Callable[[Any], Any]) -> Callable[[Run], Any]:
    """A gradient-based search, after `warm_epochs` of uniform paths: a step of alpha before each of the weights."""

    def method(run: Run) -> Any:
        if warm := run.recipe.get("warm_epochs"):
            run.supernet.sampling("uniform", seed=run.seed)
            run.train(run.supernet, warm)
            run.supernet.sampling(None)
        search = make(run.supernet)
        weights = [p for name, p in run.supernet.named_parameters() if not name.startswith(("alpha", "edge_alpha"))]
        optimizer = torch.optim.SGD(weights, 0.025, momentum=0.9, weight_decay=3e-4)
        n_steps = run.recipe.get("gradient_steps") or run.recipe["search_epochs"] * len(run.task.train)
        batches = itertools.islice(zip(epochs(run.task.train), itertools.cycle(run.task.valid)), n_steps)
        for step, (batch, valid) in enumerate(batches):
            if isinstance(search, mn.search.StacNAS) and step == n_steps // 2:
                search.advance()
            for group in search.optimizer.param_groups:  # few steps need larger ones than the published
                group["lr"] = run.recipe.get("alpha_rate", group["lr"])
            run.supernet.train()
            search.step(run.loss, batch, valid, weights_optimizer=optimizer)
            optimizer.zero_grad()
            run.loss(run.supernet, batch).backward()
            nn.utils.clip_grad_norm_(weights, 5.0)
            optimizer.step()
        point = search.point()
        run.supernet.activate(point)
        return point

    return method


def epochs(batches: Any) -> Iterator[Any]:
    """All batches again and again, in another order each time."""
    for epoch in itertools.count():
        batches.set_epoch(epoch)
        yield from batches


METHODS: dict[str, Callable[[Run], Any]] = {
    "original": lambda run: run.supernet.original_point or run.task.unsearched(run.supernet),
    "SPOS+Random": one_shot(random),
    "SPOS+RE": one_shot(evolution),
    "CARS+Random": continuous(random),
    "CARS+RE": continuous(evolution),
    "Subnet+Random": alone,
    "DARTS": gradient(lambda supernet: mn.search.DARTS(supernet, unrolled=True)),
    "DARTS one-level": gradient(mn.search.DirectGradient),
    "Proxyless-G": gradient(mn.search.ProxylessNAS),
    "Proxyless-GU": gradient(lambda supernet: mn.search.ProxylessNAS(supernet, uniform=True)),
    "SNAS": gradient(mn.search.SNAS),
    "SNAS bi-level": gradient(lambda supernet: mn.search.SNAS(supernet, bilevel=True)),
    "StacNAS": gradient(mn.search.StacNAS),
}


def run_row(run: Run, method: str) -> dict[str, Any]:
    """The test metrics and costs of what a method finds, its architecture, and the processor seconds of search and
    training."""
    started_s = time.process_time()
    if method == "Random":  # the mean of several architectures, as in the paper
        points = run.supernet.space.samples(run.recipe["alone"], seed=run.seed)
    else:
        points = [METHODS[method](run)]
    searched_s = time.process_time() - started_s
    rows = []
    for point in points:
        net = run.train(run.network(point).to(run.device), run.recipe["epochs"], run.task.valid)
        row = measure(net, run.task.test, run.task.metrics, device=run.device)
        rows.append(row | {k: v for k, v in costs(net, run.example).items() if k != "latency_ms"})
    mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
    found = mn.spaces.darts.genotype(points[0]) if run.task.space[0] == "darts" else points[0].to_json()
    times = {"search_s": searched_s, "train_s": time.process_time() - started_s - searched_s}
    return mean | times | {"architecture": str(found), "clock": "processor"}


def main(table: str, build: Callable[[dict[str, Any], Path, dict[str, Any], int], mn.tasks.Task]) -> None:
    """The command line of a table: runs its rows and writes them as json and markdown."""
    description = yaml.safe_load((HERE / f"{table}.yaml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=description["title"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the research data")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results")
    parser.add_argument("--recipe", choices=list(description["recipes"]), default="cpu")
    parser.add_argument("--rows", nargs="+", help="which rows; default: all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{table}-{options.recipe}.json"
    done = json.loads(file.read_text()) if file.exists() else {}
    for row in description["rows"]:
        if options.rows and row["row"] not in options.rows:
            continue
        for seed in range(options.seeds):
            key = f"{row['row']}/{seed}"
            if key in done:  # a run that was cut goes on
                continue
            recipe = of_row(description["recipes"][options.recipe], row)
            task = build(row, options.data, recipe, seed)
            done[key] = run_row(Run(task, recipe, seed, options.device), row["method"]) | {"sizes": recipe}
            print(key, row["method"], json.dumps(done[key]), flush=True)
            file.write_text(json.dumps(done, indent=1))
    file.with_suffix(".md").write_text(report(description, done, options.recipe), encoding="utf-8")


def report(description: dict[str, Any], done: dict[str, dict[str, float]], recipe: str) -> str:
    """The table as markdown: ours beside the published figure."""
    metric = description["metric"]
    scale = 100 if metric == "accuracy" else 1
    lines = [
        f"| row | data | space | method | published | ours ({recipe}) | seeds | params | MACs | search s | train s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in description["rows"]:
        runs = [value for key, value in done.items() if key.startswith(f"{row['row']}/")]
        if not runs:
            continue
        values = [run[metric] * scale for run in runs]
        spread = f" ± {statistics.stdev(values):.{2 if scale == 100 else 4}f}" if len(values) > 1 else ""
        digits = 2 if scale == 100 else 4
        mean = {key: statistics.fmean(run[key] for run in runs) for key in ("params", "macs", "search_s", "train_s")}
        stands_in = row["data"] == "ImageNet" and "imagenet" not in description["recipes"][recipe]
        data = "CIFAR-10 for ImageNet" if stands_in else row["data"]
        lines.append(
            f"| {row['row']} | {data} | {row['space']} | {row['method']} | {row['published']} "
            f"| {statistics.fmean(values):.{digits}f}{spread} | {len(values)} | {mean['params']:,.0f} "
            f"| {mean['macs']:,.0f} | {mean['search_s']:.0f} | {mean['train_s']:.0f} |"
        )
    cells = {
        key: run["architecture"] for key, run in done.items() if run.get("architecture", "").startswith("Genotype")
    }
    if cells:
        lines += ["", "Cells found, of the first seed:", ""]
        lines += [f"- {key.partition('/')[0]}: `{cell}`" for key, cell in cells.items() if key.endswith("/0")]
    total_s = sum(run["search_s"] + run["train_s"] for run in done.values())
    clock = " and ".join(dict.fromkeys(run["clock"] for run in done.values()))
    rows_of: dict[str, list[str]] = {}
    for key, run in done.items():
        rows_of.setdefault(json.dumps(run["sizes"]), []).append(key.partition("/")[0])
    lines += ["", *(f"- Rows {', '.join(dict.fromkeys(rows))}: `{sizes}`" for sizes, rows in rows_of.items())]
    lines += [
        "",
        order(description, done, metric),
        *([differences(description, done)] if metric == "accuracy" else []),
        "",
        f"{hardware()}, {total_s:.0f} s of {clock} time.",
    ]
    return "\n".join(lines) + "\n"


def groups_of(
    description: dict[str, Any], done: dict[str, dict[str, Any]], metric: str
) -> dict[str, list[tuple[dict[str, Any], list[float]]]]:
    """The rows of the same data and space with their values over seeds; only groups of three rows or more."""
    groups: dict[str, list[tuple[dict[str, Any], list[float]]]] = {}
    for row in description["rows"]:
        values = [run[metric] for key, run in done.items() if key.startswith(f"{row['row']}/")]
        if values:
            groups.setdefault(f"{row['data']} {row['space']}", []).append((row, values))
    return {name: rows for name, rows in groups.items() if len(rows) > 2}


def order(description: dict[str, Any], done: dict[str, dict[str, Any]], metric: str) -> str:
    """How far the methods are in the published order, in a sentence: 1 is the same, 0 is none, -1 the reverse."""
    texts = []
    for name, rows in groups_of(description, done, metric).items():
        pairs = [(row["published"], statistics.fmean(values)) for row, values in rows]
        tau = kendalltau(*zip(*pairs, strict=True)).statistic
        texts.append(f"{name} {f'{tau:+.2f}' if tau == tau else 'none, all are alike'} ({len(rows)} rows)")
    return f"Kendall's tau of ours and the published order: {', '.join(texts)}."


def differences(description: dict[str, Any], done: dict[str, dict[str, Any]]) -> str:
    """What accuracies say, in sentences: which rows guess, and whether the others differ by more than chance."""
    chance = {row["row"]: 0.01 if row["data"] == "C100" else 0.1 for row in description["rows"]}
    guesses, texts = 0, []
    for name, rows in groups_of(description, done, "accuracy").items():
        guesses += sum(statistics.fmean(values) < 1.5 * chance[row["row"]] for row, values in rows)
        right = [sum(values) * TESTED[row["data"]] for row, values in rows]
        n = [len(values) * TESTED[row["data"]] for row, values in rows]
        p = chi2_contingency([right, [m - k for m, k in zip(n, right, strict=True)]]).pvalue
        texts.append(f"{name} {'yes' if p < 0.05 else 'no'} (p = {p:.2g})")
    said = "no row guesses" if not guesses else f"{guesses} rows are guesses, and show only that they run"
    return (
        "Do rows differ by more than the draw of the test samples explains (chi-squared, 5 %)? "
        f"{', '.join(texts)}. Of these, {said}."
    )
