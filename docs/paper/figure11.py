"""Figure 11, Pareto fronts: `python docs/paper/figure11.py --data DATA [--smoke]`.

One supernet of ResNet-20 with kernels 3, 5 and 7 on CIFAR-10, searched by a genetic algorithm (NSGA-II) and by random
search for accuracy and one cost each: multiply-adds, or the measured latency of one picture or of 64 on this
processor, which stand for the paper's devices (a P100, a mobile NPU, a mobile CPU). Every network found is then placed
in the plots of the other costs: the paper's point is that what is best for one device is mostly dominated on another.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from experiment import hardware

import modularnas as mn

COSTS = ("macs", "latency_1_ms", "latency_64_ms")
#: Read off the paper's picture, about 0.1 points; it does not say which space and data these are of.
PUBLISHED = {
    "P100": "9.7/63.0, 10.2/63.1, 10.9/64.75, 11.7/65.4, 12.3/65.9, 12.8/66.2, 13.7/66.3, 14.9/66.5",
    "mobile NPU": "154.1/60.9, 154.9/62.5, 155.6/63.6, 160.9/64.75, 163.6/65.6, 167.3/66.0, 171.8/66.3, 180.4/66.5",
    "mobile CPU": "242/61.6, 264/63.2, 273/63.8, 285/64.95, 300/65.4, 306/65.8, 330/66.0, 352/66.3, 385/66.5",
}


def main():
    """Trains, searches, and writes figure11.json, .md and .png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    started_s = time.process_time()
    settings = {"image_size": 16, "n_train": 128 if options.smoke else 4500, "n_valid": 64 if options.smoke else 500}
    task, _ = mn.tasks.image.create(
        options.data / "cifar10_small.npz", space="resnet", depth=20, batch_size=32, **settings
    )
    supernet, _ = mn.spaces.create(task.space[0], **task.space[1])
    mn.ops.initialise(supernet)
    supernet.sampling("uniform", seed=0)
    epochs = 1 if options.smoke else 6
    mn.train.fit(supernet, task.train, epochs=epochs, optimizer=task.optimizer, progress=False, **task.fit)
    supernet.sampling(None)
    images = {1: task.test.inputs[:1], 64: task.test.inputs[:64]}
    repeats = 3 if options.smoke else 15

    def score(net):
        values = mn.train.measure(net, task.valid, {"accuracy": mn.tasks.image.accuracy})
        for n, x in images.items():  # in the processor's own time, which other programs disturb least
            timing = mn.evaluate.measure_latency(net, x, repeats=repeats, clock="cpu")
            values[f"latency_{n}_ms"] = timing.median_ms
        return values

    calibration = [batch for batch, _ in zip(task.train, range(2), strict=False)]
    # Random search asks for the same networks whatever the cost is.
    evaluator = mn.evaluate.Cached(mn.evaluate.SharedWeights(supernet, score, calibration=calibration))
    trials = 6 if options.smoke else options.trials
    fronts = {}
    for cost in COSTS:
        for name, algorithm in (
            ("genetic", mn.search.create("nsga2", population=max(4, trials // 4))),
            ("random", mn.search.Random()),
        ):
            study = mn.Study(supernet.space, algorithm, objectives={"accuracy": "max", cost: "min"}, seed=0)
            study.optimize(evaluator, trials=trials, progress=False)
            fronts[f"{name}, {cost}"] = [
                {key: trial.values[key] for key in ("accuracy", *COSTS)} for trial in study.pareto_front
            ]
    (options.out / "figure11.json").write_text(json.dumps(fronts, indent=1))
    size, n_train, n_valid = settings.values()
    spent_s = time.process_time() - started_s
    text = report(fronts) + (
        f"\nSupernet: {n_train} pictures of {size} pixels, {epochs} epochs of uniform paths; {trials} trials a search, "
        f"{n_valid} pictures to validate on.\n\n{hardware()}, {spent_s:.0f} s of processor time.\n"
    )
    (options.out / "figure11.md").write_text(text, encoding="utf-8")
    print(text)
    plot(fronts, options.out / "figure11.png")


def dominated(row, rows, cost):
    """Whether another row is at least as good in both, and better in one."""
    return any(
        other["accuracy"] >= row["accuracy"]
        and other[cost] <= row[cost]
        and (other["accuracy"], other[cost]) != (row["accuracy"], row[cost])
        for other in rows
    )


def report(fronts):
    """For each search its front's size and hypervolume, and how much of it is dominated on the other costs."""
    everything = [row for rows in fronts.values() for row in rows]
    lines = ["| search | front | best accuracy | hypervolume |" + "".join(f" dominated by {cost} |" for cost in COSTS)]
    lines.append("|---" * (4 + len(COSTS)) + "|")
    volumes, elsewhere = {}, []
    for name, rows in fronts.items():
        cost = name.rpartition(" ")[2]
        worst = max(row[cost] for row in everything)
        points = [[1 - row["accuracy"], row[cost] / worst] for row in rows]
        volume = mn.hypervolume(points, [1.0, 1.0])
        shares = []
        for other in COSTS:
            theirs = [row for key, some in fronts.items() if key.endswith(other) for row in some]
            shares.append(f"{sum(dominated(row, theirs, other) for row in rows) / len(rows):.0%}")
        best = max(row["accuracy"] for row in rows)
        volumes[name] = volume
        elsewhere += [float(share[:-1]) for other, share in zip(COSTS, shares, strict=True) if other != cost]
        lines.append(f"| {name} | {len(rows)} | {best:.3f} | {volume:.4f} | {' | '.join(shares)} |")
    ratios = [f"{volumes[f'genetic, {cost}'] / volumes[f'random, {cost}']:.2f} ({cost})" for cost in COSTS]
    lines += [
        "",
        f"Of a front {statistics.fmean(elsewhere):.0f} % is dominated where another cost is plotted (paper: mostly).",
        f"Hypervolume of the genetic search over that of random search: {', '.join(ratios)}.",
        "",
        "One seed; accuracy is that of the validation, with the supernet's weights; 0.1 is a guess.",
        "",
        "| published front | latency ms / accuracy % |",
        "|---|---|",
        *(f"| {device} | {front} |" for device, front in PUBLISHED.items()),
    ]
    return "\n".join(lines) + "\n"


def plot(fronts, path):
    """A panel for each cost: lines join what was found for it, crosses are what was found for the others."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, cost in zip(figure.subplots(1, len(COSTS)), COSTS, strict=True):
        for i, (name, rows) in enumerate(fronts.items()):
            found = sorted((row[cost], row["accuracy"]) for row in rows)
            style = "-o" if name.endswith(cost) else "x"
            axes.plot(*zip(*found, strict=True), style, color=f"C{i}", markersize=4, alpha=0.8)
        axes.set(xlabel=cost, ylabel="validation accuracy, shared weights")
        axes.grid(alpha=0.3)
    lines = [axes.plot([], [], "-o", color=f"C{i}", markersize=4)[0] for i in range(len(fronts))]
    title = "found for (lines); in the plots of other costs crosses"
    figure.legend(lines, list(fronts), loc="outside lower center", ncols=len(fronts), fontsize=8, title=title)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
