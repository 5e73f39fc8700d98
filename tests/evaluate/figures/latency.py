"""Latency tables: measured on this machine, and fitted to published ones.

python tests/evaluate/figures/latency.py measured         # a MobileNetV2-like space, 100 sub-networks it has not seen
python tests/evaluate/figures/latency.py published DATA   # OFA on 12 devices and FBNet on 27, from 200 rows each
"""

import os
import sys
import time

import numpy as np
import torch
from torch import nn

import modularnas as mn

#: (input channels, output channels, stride): MobileNetV2 at half width for pictures of 32 x 32.
BLOCKS = [
    (16, 16, 1),
    (16, 24, 2),
    (24, 24, 1),
    (24, 24, 1),
    (24, 48, 2),
    (48, 48, 1),
    (48, 48, 1),
    (48, 80, 2),
    (80, 80, 1),
]


class MBConv(nn.Module):
    """An inverted bottleneck: expansion, depthwise kernel, projection, shortcut where the shape stays."""

    def __init__(self, n_in, n_out, stride, expansion, kernel):
        super().__init__()
        wide = n_in * expansion
        self.body = nn.Sequential(
            nn.Conv2d(n_in, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, n_out, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut = stride == 1 and n_in == n_out

    def forward(self, x):
        return x + self.body(x) if self.shortcut else self.body(x)


def supernet():
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
    body = nn.Sequential(*[MBConv(*shape, 6, 3) for shape in BLOCKS])
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(80, 10))
    net = nn.Sequential(stem, body, head)
    x = torch.randn(8, 3, 32, 32)
    return mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7), mn.rules.expansion(3, 4, 6), mn.rules.depth()], example=x), x


def measured():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made, x = supernet()
    print(made.space)
    start = time.perf_counter()
    settings = {"clock": "cpu", "repeats": 9, "warmup": 5}
    table = mn.evaluate.LatencyTable.measure(made, x, n_networks=40, **settings)
    print(f"measured in {time.perf_counter() - start:.0f} s")
    points = made.space.samples(100, seed=99)
    # The networks of a correction and those of the check in turns, so that all see the same minutes. The median over the
    # rounds, because a busy machine makes single timings too short as well as too long.
    others = made.space.samples(40, seed=98)
    nets = [mn.derive(made, point) for point in others + points]
    rounds = np.empty((14, len(nets)))
    for turn, row in enumerate(rounds):
        for i in np.random.default_rng(turn).permutation(len(nets)):
            row[i] = mn.evaluate.measure_latency(nets[i], x, clock="cpu", repeats=3, warmup=1).median_ms
    measured_ms = np.median(rounds, 0)
    truth = measured_ms[40:]
    print(f"median latency {np.median(truth):.1f} ms")
    for name, one in (("as measured", table), ("corrected in turns", table.corrected(others, measured_ms[:40]))):
        mean, std = one.predict(points, std=True)
        relative = np.abs(mean / truth - 1)
        print(f"{name}: {mn.evaluate.rank_report(mean, truth)}")
        print(f"  median error {np.median(relative):.1%}, 90 % below {np.quantile(relative, 0.9):.1%}")
        print(f"  {np.mean(np.abs(mean - truth) <= 2 * std):.0%} of them within two deviations")
    once, again = np.median(rounds[::2, 40:], 0), np.median(rounds[1::2, 40:], 0)
    agreement = mn.evaluate.rank_report(again, once)
    twice = np.median(np.abs(again / once - 1))
    print(f"measured twice: Spearman {agreement.spearman:.3f}, median difference {twice:.1%}")


def ofa(z):
    """Space and points: kernel, expansion and depth of five stages of up to four blocks, and resolution."""
    decisions = {"resolution": mn.integer(128, 224, step=4)}
    for stage in range(5):
        decisions[f"d{stage}"] = mn.integer(2, 4)
        for block in range(4):
            there = {} if block < 2 else {"active_if": (f"d{stage}", list(range(block + 1, 5)))}
            decisions[f"k{stage}{block}"] = mn.choice([3, 5, 7], **there)
            decisions[f"e{stage}{block}"] = mn.choice([3, 4, 6], **there)
    space = mn.SearchSpace(decisions)
    points = []
    for ks, e, d, r in zip(z["ofa_ks"], z["ofa_e"], z["ofa_d"], z["ofa_r"], strict=True):
        point = {"resolution": int(r)}
        for stage in range(5):
            point[f"d{stage}"] = int(d[stage])
            for block in range(int(d[stage])):
                point[f"k{stage}{block}"] = int(ks[4 * stage + block])
                point[f"e{stage}{block}"] = int(e[4 * stage + block])
        points.append(space.point(point))
    return space, points, z["ofa_latency_ms"], z["ofa_devices"]


def fbnet(z):
    space = mn.SearchSpace({f"layer{i}": mn.choice(range(9)) for i in range(22)})
    points = [space.point({f"layer{i}": int(op) for i, op in enumerate(row)}) for row in z["fbnet_ops"]]
    return space, points, z["fbnet_latency_ms"], z["fbnet_devices"]


def published(data):
    z = np.load(os.path.join(data, "nas_misc.npz"))
    for name, (space, points, latencies, devices) in (("OFA", ofa(z)), ("FBNet", fbnet(z))):
        order = np.random.default_rng(0).permutation(len(points))
        train, test = order[:200], order[200:]
        reached = []
        for column, device in enumerate(devices):
            known = latencies[:, column].astype(np.float64)
            table = mn.evaluate.LatencyTable.fit(space, [points[i] for i in train], known[train], str(device))
            found = table.predict([points[i] for i in test])
            report = mn.evaluate.rank_report(found, known[test], resamples=1)
            error = np.median(np.abs(found / known[test] - 1))
            reached.append(report.spearman)
            print(f"{name} {device}: Spearman {report.spearman:.3f}, median error {error:.1%}", flush=True)
        good = np.mean(np.array(reached) >= 0.95)
        print(f"{name}: {good:.0%} of {len(devices)} devices at 0.95 or more, least {min(reached):.3f}")


def limit(data):
    """Huber regression on nearly all rows: what noise leaves to be learnt."""
    from sklearn.linear_model import HuberRegressor

    z = np.load(os.path.join(data, "nas_misc.npz"))
    for name, (space, points, latencies, devices) in (("OFA", ofa(z)), ("FBNet", fbnet(z))):
        rows = space.encode(points)
        if name == "OFA":  # the resolution is the first column
            rows = np.concatenate([rows, rows[:, :1] ** 2, rows * rows[:, :1]], 1)
        order = np.random.default_rng(0).permutation(len(points))
        test, train = order[200:1200], order[1200:]
        for column, device in enumerate(devices):
            y = latencies[:, column].astype(float)
            scaled = (y[train] - np.median(y[train])) / y[train].std()
            found = HuberRegressor(alpha=0.1, max_iter=300).fit(rows[train], scaled).predict(rows[test])
            print(f"{name} {device}: Spearman {mn.evaluate.rank_report(found, y[test], resamples=1).spearman:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measured"]:
        measured()
    else:
        {"published": published, "limit": limit}[sys.argv[1]](sys.argv[2])
