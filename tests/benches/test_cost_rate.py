"""How fast the cost of a candidate is known: `supernet.cost` against counting it in a traced forward.

Figures of one run: one thread, processor time, medians of interleaved repeats.
"""

import statistics
import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import modularnas as mn

models = pytest.importorskip("torchvision.models")

CANDIDATES = 500_000


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_closed_form_against_a_traced_count(name):
    net, x = getattr(models, name)(num_classes=10).eval(), torch.randn(1, 3, 96, 96)
    supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7)], example=x).eval()
    space = supernet.space
    codes = space.sample_indices(0, 0, CANDIDATES)

    def traced():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            supernet.activate(space.point_at(codes[0].tolist()))
            supernet(x)
        assert counter.get_total_flops() // 2 == supernet.cost(codes[:1])["macs"][0]

    low, high = space.bounds("macs")
    window = {"macs": (low + (high - low) // 3, low + (high - low) // 2)}
    seconds = {"closed form": [], "traced": [], "500 samples": []}
    for seed in range(5):
        fresh = space.with_cost("free", {})  # nothing is kept from the draws before
        for run, f in (
            ("closed form", lambda: supernet.cost(codes)),
            ("traced", traced),
            ("500 samples", lambda fresh=fresh, seed=seed: fresh.samples(500, seed=seed, constraints=window)),
        ):
            start = time.process_time()
            f()
            seconds[run].append(time.process_time() - start)
    ours, theirs = CANDIDATES / statistics.median(seconds["closed form"]), 1 / statistics.median(seconds["traced"])
    print(f"\nthe cost of candidates of {name}, {len(space)} decisions, a second of processor time")
    print(f"  closed form {ours:12.3g}\n  traced      {theirs:12.3g}   {ours / theirs:.2g} times fewer")
    print(f"  500 samples within constraints: {statistics.median(seconds['500 samples']) * 1e3:.1f} ms")
