"""Trains supernets by every strategy on CIFAR-10 and writes the section "Training strategies" of docs/sharing.md.

    python tests/train/write_sharing.py DATA [passes]

DATA is the folder of `cifar10_small.npz` (10,000 training and 2,000 test pictures). Every strategy gets the same number
of passes (a forward and a backward of one path on one batch), in a process of its own, one thread. Then the largest and
the smallest network, and the best of some random ones by validation accuracy, are derived with recalibrated batch norms,
and the best is exported and loaded again.
"""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torchvision.models.mobilenetv2 import Conv2dNormActivation, InvertedResidual

import modularnas as mn

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "sharing.md"
BEGIN, END = "<!-- training strategies: begin -->", "<!-- training strategies: end -->"
BATCH = 64
CANDIDATES = 6
POLICY_POINTS = 6
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def pictures(folder):
    """Training, validation (the last 1,000 of the training set) and test pictures, normalised."""
    with np.load(folder / "cifar10_small.npz", allow_pickle=False) as file:
        found = []
        for name in ("train", "test"):
            x = np.cumsum(np.cumsum(file[f"{name}_d"], 2, dtype=np.uint8), 3, dtype=np.uint8)
            x[:, 0] += x[:, 1]
            x[:, 2] += x[:, 1]
            x = torch.from_numpy(x).float() / 255
            x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
            found.append((x, torch.from_numpy(file[f"{name}_y"]).long()))
    (x, y), test = found
    return (x[:-1000], y[:-1000]), (x[-1000:], y[-1000:]), test


def network():
    """A small MobileNetV2 whose kernels are 3, 5 or 7 and whose expansions are 2, 4 or 6: 3^12 networks."""
    torch.manual_seed(0)
    blocks = [(16, 24, 1), (24, 24, 1), (24, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    net = nn.Sequential(
        Conv2dNormActivation(3, 16, stride=2, activation_layer=nn.ReLU6),
        *(InvertedResidual(inside, outside, stride, 6) for inside, outside, stride in blocks),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    return net, [mn.rules.kernel_size(3, 5, 7), mn.rules.expansion(2, 4, 6)], torch.randn(2, 3, 32, 32)


def strategy(name, passes):
    """The strategy, how many steps it takes for so many passes, and whether kernels shrink in a learned way."""
    if name == "single path":
        return mn.train.SinglePath(), passes, False
    if name == "fair":
        return mn.train.FairNAS(), passes // 3, False
    if name == "sandwich":
        return mn.train.Sandwich(n_random=2), passes // 4, False
    # 2 of 5 parts of the passes for the largest network, 1 for kernels, 2 for expansions in steps of four paths.
    part = passes // 5
    stages = [
        mn.train.ShrinkingStage(2 * part),
        mn.train.ShrinkingStage(part, {"*kernel_size": None}),
        mn.train.ShrinkingStage(part // 4, {"*kernel_size": None, "*expansion": 2}, 4, sort_channels=True),
        mn.train.ShrinkingStage(part // 4, {"*": None}, 4),
    ]
    return mn.train.ProgressiveShrinking(stages), sum(stage.steps for stage in stages), True


def batches(x, y, n, seed=0):
    """Random batches, half of the pictures mirrored."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n):
        chosen = torch.randint(len(x), (BATCH,), generator=generator)
        mirrored = torch.rand(BATCH, generator=generator) < 0.5
        pixels = x[chosen]
        yield torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels), y[chosen]


def loss_fn(net, batch):
    """Cross entropy."""
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


def accuracy(net, x, y):
    """In percent."""
    with torch.no_grad():
        return 100 * (net.eval()(x).argmax(1) == y).float().mean().item()


def trained(name, passes, train, private=False):
    """A trained supernet."""
    net, rules, example = network()
    supernet = mn.rewrite(net, rules, example=example).train()
    if private:
        supernet.private_batch_norm()
    training, steps, learned = strategy(name, passes)
    if learned:
        supernet.learn_kernels()
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for batch in batches(*train, steps):
        optimizer.zero_grad()
        training.step(supernet, loss_fn, batch)
        torch.nn.utils.clip_grad_norm_(supernet.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return supernet, steps


def calibration(train):
    """The batches on which batch norms are measured."""
    return [x for x, _ in batches(*train, 4, seed=1)]


def run(name, folder, passes):
    """One row of the table."""
    train, valid, test = pictures(folder)
    begin = time.process_time()
    supernet, steps = trained(name, passes, train)
    seconds = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    evaluator = mn.evaluate.SharedWeights(supernet, lambda net: accuracy(net, *valid), calibration=calibration(train))
    study = mn.Study(supernet.space, mn.search.Random(), objectives={"accuracy": "max"}, seed=0)
    study.optimize(evaluator, trials=CANDIDATES, batch=CANDIDATES, progress=False)
    row = {"strategy": name, "steps": steps, "seconds": seconds, "memory": memory}
    low, high = supernet.space.extremes("macs")
    for which, point in (("largest", high), ("smallest", low), ("best", study.best_trial.point)):
        net = mn.derive(supernet, point)
        mn.evaluate.recalibrate(net, calibration(train))
        row[which] = accuracy(net, *test)
        row[f"{which}_macs"] = supernet.cost(point)["macs"]
    with tempfile.TemporaryDirectory() as out:
        mn.export(net.eval(), out, example=test[0][:2])
        again = mn.load_export(out)
        row["exported"] = abs(accuracy(again, *test) - row["best"]) < 0.11
    return row


def policies(folder, passes):
    """Accuracy of random networks of one supernet under every policy of batch norms."""
    train, valid, _ = pictures(folder)
    rows = []
    for private in (False, True):
        supernet, _ = trained("single path", passes, train, private)
        points = supernet.space.samples(POLICY_POINTS, seed=3)
        for policy in ["private"] if private else ["recalibrate", "batch", "none"]:
            begin = time.process_time()
            evaluator = mn.evaluate.SharedWeights(
                supernet, lambda net: accuracy(net, *valid), batch_norm=policy, calibration=calibration(train)
            )
            study = mn.Study(supernet.space, mn.search.Human(_told(points)), objectives={"accuracy": "max"})
            study.optimize(evaluator, trials=POLICY_POINTS, progress=False)
            scores = [trial.values["accuracy"] for trial in study.trials]
            seconds = (time.process_time() - begin) / POLICY_POINTS
            rows.append({"policy": policy, "mean": float(np.mean(scores)), "low": min(scores), "seconds": seconds})
    return rows


def _told(points):
    waiting = iter(points)
    return lambda context, trials: next(waiting, None)


NAMES = {
    "single path": "`SinglePath` (SPOS)",
    "fair": "`FairNAS`",
    "sandwich": "`Sandwich` (BigNAS)",
    "progressive": "`ProgressiveShrinking` (Once-for-All)",
}


def section(rows, effects, passes):
    """The section as Markdown."""
    lines = [
        "## Training strategies",
        "",
        "A small MobileNetV2 (six inverted residuals, kernels 3, 5, 7, expansions 2, 4, 6: 531,441 networks) on 9,000",
        f"pictures of CIFAR-10; each strategy has {passes} passes (one path, forward and backward, {BATCH} pictures), one",
        f"thread, no search for settings. Best: of {CANDIDATES} random networks by accuracy on 1,000 other pictures. Accuracies",
        "are those of derived networks with recalibrated batch norms on 2,000 test pictures; the best one is exported, and",
        "the exported one loaded and tested again. So few passes compare cost and plumbing, not methods.",
        "Written by `tests/train/write_sharing.py`.",
        "",
        "| strategy | steps | largest, % | smallest, % | best, % | MMACs of the best | CPU time, s | peak memory, MB | exported |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {NAMES[row['strategy']]} | {row['steps']} | {row['largest']:.1f} | {row['smallest']:.1f} | "
            f"{row['best']:.1f} | {row['best_macs'] / 1e6:.2f} | {row['seconds']:.0f} | {row['memory']:.0f} | "
            f"{'equal' if row['exported'] else 'differs'} |"
        )
    lines += [
        "",
        "Batch norms of sub-networks: the accuracy on 1,000 pictures of six random networks of the same supernet",
        "(single path), under each policy; private statistics are those of a supernet trained with them.",
        "",
        "| batch norm | mean, % | lowest, % | CPU time a network, s |",
        "|---|---|---|---|",
    ]
    for row in effects:
        lines.append(f"| `{row['policy']}` | {row['mean']:.1f} | {row['low']:.1f} | {row['seconds']:.2f} |")
    return "\n".join(lines) + "\n"


def main():
    """Runs every strategy in a process of its own, and writes the section."""
    torch.set_num_threads(1)
    folder, passes = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 900
    if len(sys.argv) > 3:
        work = policies(folder, passes) if sys.argv[3] == "policies" else run(sys.argv[3], folder, passes)
        print(json.dumps(work))
        return
    results = []
    for name in (*NAMES, "policies"):
        command = [sys.executable, __file__, str(folder), str(passes), name]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        results.append(json.loads(found.strip().splitlines()[-1]))
        print(results[-1], flush=True)
    written = f"{BEGIN}\n{section(results[:-1], results[-1], passes)}{END}\n"
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Weight sharing, measured\n\n"
    if BEGIN in page:
        page = page[: page.index(BEGIN)] + written + page[page.index(END) + len(END) + 1 :]
    else:
        page = page.rstrip() + "\n\n" + written
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
