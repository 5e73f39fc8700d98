"""Our proxies on NAS-Bench-201 with real CIFAR-10 pictures, against the stored scores of the same networks.

    python tests/evaluate/figures/zero_cost.py DATA OUT.npz [--n 500] [--seconds 550]

Goes on where OUT.npz ends, so it can be run in pieces; prints the table when all networks are measured.
"""

import argparse
import os
import sys
import time

import numpy as np
import torch

import modularnas as mn

PROXIES = ["synflow", "naswot"]


def pictures(data, n):
    sys.path.insert(0, data)
    from load_data import cifar

    arrays = cifar(10)
    x = torch.from_numpy(arrays[0][:n]).float().div_(255)
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    return (x - mean[:, None, None]) / std[:, None, None], torch.from_numpy(arrays[1][:n]).long()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=550)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = np.load(os.path.join(arguments.data, "nasbench201.npz"))
    rows = np.random.default_rng(0).choice(len(table["ops"]), arguments.n, replace=False)
    batch = pictures(arguments.data, 64)
    found = list(np.load(arguments.out)["found"]) if os.path.exists(arguments.out) else []
    end = time.monotonic() + arguments.seconds
    bench = mn.benchmarks.NASBench201(os.path.join(arguments.data, "nasbench201.npz"))
    evaluator = mn.evaluate.ZeroCost(mn.spaces.create("nasbench201")[0], PROXIES, batch=batch)
    edges = [decision.name for decision in bench.space.decisions]
    for row in rows[len(found) :]:
        if time.monotonic() > end:
            break
        ops = [str(table["op_names"][op]) for op in table["ops"][row]]
        point = bench.space.point(dict(zip(edges, ops, strict=True)))
        values = evaluator.evaluate(mn.evaluate.candidates([point]))[0]
        found.append([values[proxy] for proxy in PROXIES] if isinstance(values, dict) else [-np.inf] * len(PROXIES))
    np.savez(arguments.out, found=np.array(found))
    print(f"{len(found)} of {arguments.n} networks")
    if len(found) < arguments.n:
        return
    ours, truth = np.array(found), table["test200"][rows, 0]
    stored = [table["synflow_log10"][rows, 0], table["naswot"][rows, 0]]
    print("proxy | ours against accuracy | stored against accuracy | ours against stored (Spearman, 95 %)")
    for k, proxy in enumerate(PROXIES):
        pairs = [(ours[:, k], truth), (stored[k], truth), (ours[:, k], stored[k])]
        reports = [mn.evaluate.rank_report(np.nan_to_num(scores, neginf=-1e30), to) for scores, to in pairs]
        cells = [f"{r.spearman:.3f} [{r.spearman_interval[0]:.3f}, {r.spearman_interval[1]:.3f}]" for r in reports]
        print(f"{proxy} | {' | '.join(cells)}")


if __name__ == "__main__":
    main()
