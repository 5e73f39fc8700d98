"""The tables of docs/results.md: `python docs/paper/results.py TABLE --data DATA [--seeds 3] [--smoke]`.

A table is a list of runs of `mn.tasks.run`; each is repeated with several seeds, and what is printed is the mean with
the 95 % interval of Student's t. Below it are the sizes, and what the table shows: differences of networks of the same
data and seed.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from scipy.stats import t

sys.path.insert(0, str(Path(__file__).parent))
from experiment import hardware

import modularnas as mn

PLAN = mn.tasks.Plan(epochs=8, supernet_epochs=8, trials=16, n_random=1, n_calibration=4)
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


def half_width(values):
    """Half the 95 % interval of the mean."""
    return t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5


def interval(values):
    """Mean and half the 95 % interval as text."""
    spread = f" ± {half_width(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


def main():
    """Runs a table and prints it as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="what the name of the data contains; default: all of the table")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{options.table}{'-smoke' if options.smoke else ''}.json"
    done = json.loads(file.read_text()) if file.exists() else {}
    started_s = time.process_time()
    for seed in range(options.seeds):
        for label, task, name, settings, plan in TABLES[options.table]:
            if options.only not in label:
                continue
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
            done[key] |= {
                "seconds": time.process_time() - started_s,
                "clock": "processor",
                "sizes": sizes(settings, plan),
            }
            started_s = time.process_time()
            print(key, done[key], flush=True)
            file.write_text(json.dumps(done, indent=1))
    print(report(options.table, done))
    file.with_suffix(".md").write_text(report(options.table, done), encoding="utf-8")


def sizes(settings, plan):
    """Settings and plan as text."""
    left_out = ("fixed", "table", "split")
    parts = {**{k: v for k, v in settings.items() if k not in left_out}, **vars(plan)}
    return ", ".join(f"{name} {value}" for name, value in parts.items())


def run(task, path, settings, plan, seed, smoke, out):
    """All rows of a task."""
    result = mn.tasks.run(task, data=path, out=out, seed=seed, smoke=smoke, plan=None if smoke else plan, **settings)
    return {"rows": result.table}


def baseline(task, path, settings, plan, seed, smoke):
    """The unsearched network alone."""
    room = getattr(mn.tasks, task)
    made, own = room.create(path, seed=seed, smoke=smoke, **settings)
    torch.manual_seed(seed)
    supernet, example = mn.spaces.create(made.space[0], **made.space[1])
    net = mn.derive(supernet, made.unsearched(supernet))
    further = {"loss": made.loss, "optimizer": made.optimizer, "metrics": made.metrics, "best": (made.metric, "max")}
    epochs = own.epochs if smoke else plan.epochs
    mn.train.fit(net, made.train, made.valid, epochs=epochs, progress=False, **further, **made.fit)
    row = mn.train.measure(net, made.test, made.metrics) | mn.tasks.recipe.costs(net, example)
    return {"rows": {"baseline": row}}


def by_network(done):
    """The runs' rows: {network: {(data, seed): row}}."""
    networks = {}
    for key, value in done.items():
        label, fixed, seed = key.split("|")
        for name, row in value["rows"].items():
            shown = name if name != "baseline" or not fixed else f"{fixed} in every branch"
            networks.setdefault(shown, {})[label, seed] = row
    return networks


def finding(networks, metric):
    """Whether the search found better networks than each of the others, in a sentence."""
    parts = []
    for name, rows in networks.items():
        both = [key for key in networks["searched"] if key in rows]
        if name == "searched" or len(both) < 2:
            continue
        differences = [networks["searched"][key][metric] - rows[key][metric] for key in both]
        mean, half = statistics.fmean(differences), half_width(differences)
        verdict = "better" if mean > half else "worse" if -mean > half else "no difference seen"
        parts.append(f"{name} {mean:+.4f} ± {half:.4f} ({verdict})")
    return f"Searched against, {metric}, over all data and seeds: {'; '.join(parts)}." if parts else ""


def report(table, done):
    """Markdown: a line for each data set and network, with means over seeds."""
    networks = by_network(done)
    labels = list(dict.fromkeys(label for rows in networks.values() for label, _ in rows))
    groups = {(label,): label for label in labels}
    if len(speakers := tuple(label for label in labels if label.startswith("speaker"))) > 1:
        groups[speakers] = "each speaker left out once"
    first = next(iter(next(iter(networks.values())).values()))
    metrics = [m for m in ("accuracy", "auc", "log_loss") if m in first]
    lines = [
        f"| data | network | {' | '.join(metrics)} | MACs | latency ms | runs |",
        "|---" * (len(metrics) + 5) + "|",
    ]
    for members, title in groups.items():
        for name, runs in networks.items():
            rows = [row for (label, _), row in runs.items() if label in members]
            if not rows:
                continue
            values = " | ".join(interval([row[metric] for row in rows]) for metric in metrics)
            macs, latency = ([row[k] for row in rows if k in row] for k in ("macs", "latency_ms"))
            costs = (
                f"{statistics.fmean(macs):,.0f}" if macs else "",
                f"{statistics.fmean(latency):.1f}" if latency else "",
            )
            lines.append(f"| {title} | {name} | {values} | {' | '.join(costs)} | {len(rows)} |")
    total_s = sum(value["seconds"] for value in done.values())
    clock = " and ".join(dict.fromkeys(value["clock"] for value in done.values()))
    lines += ["", *(f"- {text}" for text in dict.fromkeys(value["sizes"] for value in done.values()))]
    lines += ["", finding(networks, metrics[0]), ""]
    lines.append(f"{hardware()}, {total_s:.0f} s of {clock} time.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
