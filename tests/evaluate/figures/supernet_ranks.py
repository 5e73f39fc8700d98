"""A supernet of NAS-Bench-Macro's space, trained on CIFAR-10 pictures, against the true accuracies, for each policy.

    python tests/evaluate/figures/supernet_ranks.py DATA FOLDER [--minutes 20] [--seconds 550] [--n 200]

Trains by uniform sampling (SPOS; Guo et al. 2019, arXiv 1904.00420) or with strict fairness (FairNAS; Chu et al.
2019, arXiv 1907.01845: every step goes once through each choice of each layer), for so many minutes of processor
time, in pieces of `--seconds`; goes on where FOLDER ends. Prints the table when all networks are scored.
"""

import argparse
import json
import os
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import modularnas as mn


def pictures(data):
    sys.path.insert(0, data)
    from load_data import cifar

    train_x, train_y, test_x, test_y, _ = cifar(10)
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])

    def ready(x):
        x = (torch.from_numpy(x).float().div_(255) - mean[:, None, None]) / std[:, None, None]
        return x.contiguous(memory_format=torch.channels_last)

    return ready(train_x), torch.from_numpy(train_y).long(), ready(test_x), torch.from_numpy(test_y).long()


def augmented(x, generator):
    padded = F.pad(x, (4, 4, 4, 4))
    i, j = torch.randint(0, 9, (2,), generator=generator).tolist()
    x = padded[:, :, i : i + 32, j : j + 32]
    return x.flip(3) if torch.rand((), generator=generator) < 0.5 else x


def train(supernet, x, y, state, arguments):
    """Goes on training until the processor time or this piece is over; returns whether it is complete."""
    optimizer = torch.optim.SGD(supernet.parameters(), 0.05, momentum=0.9, weight_decay=4e-5, nesterov=True)
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
        supernet.load_state_dict(state["model"])
    limit, end = arguments.minutes * 60, time.monotonic() + arguments.seconds
    strategy = mn.train.FairNAS() if arguments.fair else mn.train.SinglePath()
    strategy.n_steps = state["step"]
    supernet.train()
    while state["used_s"] < limit and time.monotonic() < end:
        start = time.process_time()
        generator = torch.Generator().manual_seed(state["step"])
        rows = torch.randint(0, len(x), (arguments.batch,), generator=generator)
        images = augmented(x[rows], generator)
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * 0.5 * (1 + np.cos(np.pi * state["used_s"] / limit))
        optimizer.zero_grad()
        strategy.step(supernet, lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]), (images, y[rows]))
        nn.utils.clip_grad_norm_(supernet.parameters(), 5.0)
        optimizer.step()
        state["step"] += 1
        state["used_s"] += time.process_time() - start
    state.update(model=supernet.state_dict(), optimizer=optimizer.state_dict())
    return state["used_s"] >= limit


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("folder")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=550)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--test", type=int, default=300, help="pictures that a score looks at")
    parser.add_argument("--fair", action="store_true")
    arguments = parser.parse_args()
    os.makedirs(arguments.folder, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y, test_x, test_y = pictures(arguments.data)
    test_x, test_y = test_x[: arguments.test], test_y[: arguments.test]
    supernet, _ = mn.spaces.create("nasbench_macro")
    supernet.to(memory_format=torch.channels_last)  # depthwise kernels run a third faster
    checkpoint = os.path.join(arguments.folder, "supernet.pt")
    state = {"step": 0, "used_s": 0.0}
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint, weights_only=False)
    done = train(supernet, x, y, state, arguments)
    torch.save(state, checkpoint)
    print(f"step {state['step']}, {state['used_s'] / 60:.1f} minutes of processor time", flush=True)
    if not done:
        return
    supernet.load_state_dict(state["model"])
    supernet.eval()
    bench = mn.benchmarks.NASBenchMacro(os.path.join(arguments.data, "nasbench_macro.npz"))
    points = bench.space.samples(arguments.n, seed=0)
    points.sort(key=lambda point: bench.space.indices([point])[0].tolist())  # neighbours share what they can
    truth = bench.query(points)["test_accuracy"]
    asked = mn.evaluate.candidates([supernet.space.point(point) for point in points])

    def score(net):
        with torch.no_grad():
            return (net(test_x).argmax(1) == test_y).float().mean().item()

    scores_file = os.path.join(arguments.folder, "scores.json")
    scores = json.load(open(scores_file)) if os.path.exists(scores_file) else {}
    end = time.monotonic() + arguments.seconds
    settings = {"calibration": [x[:100], x[100:200]], "costs": False, "prefix_bytes": 2**30}
    for policy in ("recalibrate", "batch", "none"):
        evaluator = mn.evaluate.SharedWeights(supernet, score, batch_norm=policy, **settings)
        found = scores.setdefault(policy, [])
        while len(found) < len(asked) and time.monotonic() < end:
            found += [outcome["accuracy"] for outcome in evaluator.evaluate(asked[len(found) : len(found) + 20])]
            json.dump(scores, open(scores_file, "w"))
    if any(len(found) < len(asked) for found in scores.values()):
        print({policy: len(found) for policy, found in scores.items()})
        return
    scores["macs alone"] = supernet.cost([one.point for one in asked])["macs"].tolist()
    for policy, found in scores.items():
        report = mn.evaluate.rank_report(found, truth)
        print(f"{policy}: mean {np.mean(found):.3f}; {report}")


if __name__ == "__main__":
    main()
