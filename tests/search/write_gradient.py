"""Writes the section "Differentiable search" of docs/sharing.md: short real searches; run it as a script (minutes).

Two tables. On a small DARTS space (8 channels, 3 cells) four methods search on CIFAR-10, the network found inherits its
weights and trains on; time is CPU time on one thread, memory what is kept for the backward pass of one step of the
weights. On NAS-Bench-201's own network every method searches for one epoch, and the cell found is looked up in the
benchmark's table. Arguments: the folder of the research data.
"""

import pathlib
import sys
import time

import numpy as np
import torch
from torch import nn

import modularnas as mn

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "sharing.md"
START, END = "<!-- differentiable search: written by tests/search/write_gradient.py -->", "<!-- end -->"
N_TRAIN, N_VALID, N_TEST, BATCH = 512, 256, 1000, 32
METHODS = {
    "DARTS": {},
    "DARTS, second order": {"unrolled": True},
    "GDAS": {"steps": 30},
    "SNAS": {},
    "ProxylessNAS": {},
    "ProxylessR": {"samples": 4},
    "PCDARTS": {},
    "PDARTS": {"keep": (3,)},
    "FairDARTS": {},
    "DrNAS": {},
    "StacNAS": {},
    "SDARTS": {"steps": 30},
    "DirectGradient": {},
}


def pictures(folder):
    with np.load(folder / "cifar10_small.npz") as file:
        parts = []
        for split, count in (("train", N_TRAIN + N_VALID), ("test", N_TEST)):
            x = file[f"{split}_d"][:count]
            # Pixels are stored as differences along x, then y, of R - G, G, B - G, modulo 256.
            x = np.cumsum(np.cumsum(x, axis=2, dtype=np.uint8), axis=3, dtype=np.uint8)
            x[:, 0] += x[:, 1]
            x[:, 2] += x[:, 1]
            x = (torch.from_numpy(x).float() / 255 - 0.47) / 0.25
            parts.append((nn.functional.avg_pool2d(x, 2), torch.from_numpy(file[f"{split}_y"][:count]).long()))
    (x, y), test = parts
    return (x[:N_TRAIN], y[:N_TRAIN]), (x[N_TRAIN:], y[N_TRAIN:]), test


def batches(data, seed):
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed))
    for rows in order.split(BATCH):
        if len(rows) == BATCH:
            yield data[0][rows], data[1][rows]


def loss_fn(net, batch):
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


@torch.no_grad()
def accuracy(net, data):
    net.eval()
    hits = sum(int((net(x).argmax(1) == y).sum()) for x, y in zip(data[0].split(250), data[1].split(250), strict=True))
    return 100 * hits / len(data[0])


def train(net, data, epochs, lr=0.05):
    optimizer = torch.optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=3e-4)
    net.train()
    for epoch in range(epochs):
        for batch in batches(data, epoch):
            optimizer.zero_grad()
            loss_fn(net, batch).backward()
            optimizer.step()


def kept_bytes(net, batch):
    sizes = {}

    def note(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss_fn(net, batch)
    return sum(sizes.values())


def search(make, method, settings, train_data, valid_data, epochs):
    torch.manual_seed(0)
    supernet = make().train()
    found = getattr(mn.search, method.partition(",")[0])(supernet, **settings)
    weights = [p for n, p in supernet.named_parameters() if "alpha" not in n]
    optimizer = torch.optim.SGD(weights, 0.05, momentum=0.9, weight_decay=3e-4)
    start = time.process_time()
    for epoch in range(epochs):
        if epoch and epoch == epochs // 2 and hasattr(found, "advance"):
            found.advance()
        for batch, (held_out, labels) in zip(
            batches(train_data, epoch), [*batches(valid_data, epoch)] * 9, strict=False
        ):
            found.step(loss_fn, batch, (held_out, labels), weights_optimizer=optimizer)
            optimizer.zero_grad()
            loss_fn(supernet, batch).backward()
            nn.utils.clip_grad_norm_(weights, 5.0)
            optimizer.step()
    seconds = time.process_time() - start
    return supernet, found, seconds, kept_bytes(supernet, next(batches(train_data, 0)))


def darts_table(train_data, valid_data, test, epochs=2):
    def make():
        return mn.spaces.create("darts", image_size=16, channels=8, layers=3)[0]

    rows = []
    for method in ("DARTS", "GDAS", "PCDARTS", "ProxylessNAS"):
        supernet, found, seconds, kept = search(make, method, METHODS[method], train_data, valid_data, epochs)
        point = found.point()
        net = mn.derive(supernet, point)
        train(net, (torch.cat([train_data[0], valid_data[0]]), torch.cat([train_data[1], valid_data[1]])), 4)
        cost = supernet.cost(point)
        skips = sum(choice == "skip_connect" for choice in point.values())
        rows.append(
            f"| {method} | {seconds:.0f} | {kept / 2**20:.1f} | {accuracy(net, test):.1f} | {cost['params'] / 1e3:.1f} | "
            f"{cost['macs'] / 1e6:.2f} | {skips} of 16 |"
        )
        print(rows[-1], flush=True)
    return rows


def nasbench_table(folder, train_data, valid_data):
    bench = mn.benchmarks.NASBench201(folder / "nasbench201.npz", dataset="cifar10")

    def make():
        return mn.spaces.create("nasbench201", image_size=16, channels=16, cells=1)[0]

    few = tuple(part[:256] for part in train_data)
    rows = []
    for method, settings in METHODS.items():
        _, found, seconds, _ = search(make, method, settings, few, valid_data, 1)
        guard = mn.search.CollapseGuard(found, max_skips=2, ratio=None)
        point = found.point()
        known = bench.query(bench.space.point(dict(point)))
        ops = " ".join(choice for choice in point.values())
        rows.append(f"| {method} | {seconds:.0f} | {known['test_accuracy']:.2f} | {guard() or 'none'} | `{ops}` |")
        print(rows[-1], flush=True)
    return rows


def main(folder):
    torch.set_num_threads(1)
    data = pictures(folder)
    write(darts_table(*data), nasbench_table(folder, *data[:2]))


def write(darts, cells):
    text = "\n".join(
        [
            START,
            "",
            f"Short searches on {N_TRAIN} + {N_VALID} pictures of CIFAR-10 at 16 x 16, {N_TEST} for testing: they show that",
            "everything runs and what it costs, not which method is best.",
            "",
            "A DARTS space of 8 channels and 3 cells, 2 epochs of search, batch 32; the network found inherits the shared",
            "weights and trains for 4 epochs on all pictures. Seconds are CPU time of the search on one thread; MiB are what",
            "one step of the weights keeps for its backward pass.",
            "",
            "| method | search s | kept MiB | test % | thousand parameters | million MACs | skip connections |",
            "|---|---|---|---|---|---|---|",
            *darts,
            "",
            "NAS-Bench-201's network with 16 channels and one cell a stage, one epoch of 256 pictures; the cell found is",
            "looked up in the table: its test accuracy on CIFAR-10 after 200 epochs of the published training. 54.30 is the",
            "cell of skip connections, in which plain DARTS ends (arXiv 2001.00326, table 5).",
            "",
            "| method | search s | table, test % | guard (more than 2 skips) | cell |",
            "|---|---|---|---|---|",
            *cells,
            "",
            END,
        ]
    )
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Weight sharing\n\n## Differentiable search\n\n"
    if START in page:
        page = page[: page.index(START)] + text + page[page.index(END, page.index(START)) + len(END) :]
    else:
        page = page.rstrip() + "\n\n" + text + "\n"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
