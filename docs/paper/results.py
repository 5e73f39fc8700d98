"""The tables of docs/results.md: `python docs/paper/results.py TABLE --data DATA [--seeds 3] [--smoke]`.

A table is a list of runs of `mn.tasks.run`; each is repeated with several seeds, and what is printed is the mean with
the 95 % interval of Student's t.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

import modularnas as mn

PLAN = mn.tasks.Plan(epochs=4, supernet_epochs=6, trials=16, n_random=2, n_calibration=4)
IMAGE = {"n_train": 2000, "n_valid": 300, "batch_size": 32, "image_size": 16}
MBV2 = {"space": "mobilenet_v2", "width": 0.25}
RESNET = {"space": "resnet", "depth": 20}
CELLS = {"space": "darts", "channels": 8, "layers": 3}
VOICE_PLAN = mn.tasks.Plan(epochs=4, supernet_epochs=6, trials=24, n_random=2, n_calibration=4)
VOICE = {"n_mels": 24, "hop": 400, "channels": 4, "batch_size": 32}
CTR_PLAN = mn.tasks.Plan(epochs=3, supernet_epochs=4, trials=36, n_random=3)
INTERACTIONS = mn.spaces.ctr_branches.INTERACTIONS

#: By table: rows of (label, task, file, settings, plan).
TABLES = {
    "image": [
        ("CIFAR-10, MobileNetV2", "image", "cifar10_small.npz", {**IMAGE, **MBV2}, PLAN),
        ("CIFAR-10, ResNet-20 kernels", "image", "cifar10_small.npz", {**IMAGE, **RESNET}, PLAN),
        ("CIFAR-100, MobileNetV2", "image", "cifar100_small.npz", {**IMAGE, **MBV2}, PLAN),
        ("CIFAR-100, ResNet-20 kernels", "image", "cifar100_small.npz", {**IMAGE, **RESNET}, PLAN),
        ("CIFAR-10, DARTS cells", "image", "cifar10_small.npz", {**IMAGE, **CELLS}, PLAN),
    ],
    "voice": [
        ("official split", "voice", "fsdd_8k.npz", VOICE, VOICE_PLAN),
        *(
            (f"speaker {i} left out", "voice", "fsdd_8k.npz", {**VOICE, "split": f"speaker:{i}"}, VOICE_PLAN)
            for i in range(6)
        ),
    ],
    "recommendation": [
        (table, "recommendation", "ctr_small.npz", {"table": table, "fixed": [name] * 3}, CTR_PLAN)
        for table in ("movielens", "adult", "criteo")
        for name in INTERACTIONS
    ],
}
#: The 97.5 % quantile of Student's t by degrees of freedom.
T = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262}


def interval(values):
    """Mean and half the 95 % interval as text."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    half = T.get(len(values) - 1, 2.0) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):.4f} ± {half:.4f}"


def main():
    """Runs a table and prints it as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{options.table}{'-smoke' if options.smoke else ''}.json"
    done = json.loads(file.read_text()) if file.exists() else {}
    started_s = time.process_time()
    for seed in range(options.seeds):
        for label, task, name, settings, plan in TABLES[options.table]:
            fixed = settings.get("fixed", [""])[0]
            key = f"{label}|{fixed}|{seed}"
            if key in done:  # a run that was cut goes on
                continue
            # Searches of one table are the same whatever the baseline is: they run once.
            again = fixed not in ("", INTERACTIONS[0])
            done[key] = (
                baseline(task, options.data / name, settings, plan, seed, options.smoke)
                if again
                else run(task, options.data / name, settings, plan, seed, options.smoke, options.out / "last")
            )
            done[key]["seconds"] = time.process_time() - started_s
            started_s = time.process_time()
            print(key, done[key], flush=True)
            file.write_text(json.dumps(done, indent=1))
    print(report(options.table, done))
    file.with_suffix(".md").write_text(report(options.table, done), encoding="utf-8")


def run(task, path, settings, plan, seed, smoke, out):
    """All rows of a task."""
    result = mn.tasks.run(task, data=path, out=out, seed=seed, smoke=smoke, plan=None if smoke else plan, **settings)
    return {"rows": result.table}


def baseline(task, path, settings, plan, seed, smoke):
    """The unsearched network alone."""
    room = getattr(mn.tasks, task)
    made, own = room.create(path, seed=seed, smoke=smoke, **settings)
    torch.manual_seed(seed)
    supernet, _ = mn.spaces.create(made.space[0], **made.space[1])
    net = mn.derive(supernet, made.unsearched(supernet))
    further = {"loss": made.loss, "optimizer": made.optimizer, "metrics": made.metrics, "best": (made.metric, "max")}
    epochs = own.epochs if smoke else plan.epochs
    mn.train.fit(net, made.train, made.valid, epochs=epochs, progress=False, **further, **made.fit)
    return {"rows": {"baseline": mn.train.measure(net, made.test, made.metrics)}}


def report(table, done):
    """Markdown: a line for each run's rows, with means over seeds."""
    lines = []
    groups = {}
    for key, value in done.items():
        label, fixed, _ = key.split("|")
        for name, row in value["rows"].items():
            shown = name if name != "baseline" or not fixed else f"{fixed} in every branch"
            groups.setdefault((label, shown), []).append(row)
    metrics = [m for m in ("accuracy", "auc", "log_loss") if m in next(iter(groups.values()))[0]]
    lines = [
        f"| data | network | {' | '.join(metrics)} | MACs | latency ms | seeds |",
        "|---" * (len(metrics) + 5) + "|",
    ]
    for (label, name), rows in groups.items():
        values = " | ".join(interval([row[metric] for row in rows]) for metric in metrics)
        mean = {k: statistics.fmean(row[k] for row in rows) if k in rows[0] else None for k in ("macs", "latency_ms")}
        extra = " | ".join(
            "" if mean[k] is None else f"{mean[k]:,.0f}" if k == "macs" else f"{mean[k]:.1f}" for k in mean
        )
        lines.append(f"| {label} | {name} | {values} | {extra} | {len(rows)} |")
    total_s = sum(value["seconds"] for value in done.values())
    lines += [
        "",
        f"{platform.machine()}, {torch.get_num_threads()} thread, torch {torch.__version__}, {total_s:.0f} s.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
