"""How fast the cost of a candidate is known: `supernet.cost` against counting it in a traced forward.

NVIDIA ModelOpt, where it is installed (with requests, huggingface_hub and torchprofile 0.0.4), traces each candidate as
well: its own count of a random sub-network of the same network.

Figures of one run: one thread, processor time, medians of interleaved repeats.
"""

import contextlib
import io
import statistics
import time
import warnings

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import modularnas as mn

models = pytest.importorskip("torchvision.models")

CANDIDATES = 500_000


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_closed_form_against_a_traced_count(name, installed):
    net, x = getattr(models, name)(num_classes=10).eval(), torch.randn(1, 3, 96, 96)
    supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7)], example=x).eval()
    space = supernet.space
    codes = space.sample_indices(0, 0, CANDIDATES)

    def traced():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            supernet.activate(space.point_at(codes[0].tolist()))
            supernet(x)
        assert counter.get_total_flops() // 2 == supernet.cost(codes[:1])["macs"][0]

    runs = [("closed form", lambda: supernet.cost(codes)), ("traced", traced)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if (modelopt := installed("modelopt.torch.nas")) is not None:
            utils = installed("modelopt.torch.nas.utils")
            with contextlib.redirect_stdout(io.StringIO()):
                converted = modelopt.convert(net, mode="autonas")

            def rival():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    utils.sample(converted)
                    utils.inference_flops(converted, dummy_input=x)

            runs.append(("ModelOpt", rival))
    low, high = space.bounds("macs")
    window = {"macs": (low + (high - low) // 3, low + (high - low) // 2)}
    seconds = {run: [] for run, _ in [*runs, ("500 samples", None)]}
    for seed in range(5):
        fresh = space.with_cost("free", {})  # nothing is kept from the draws before
        draw = ("500 samples", lambda fresh=fresh, seed=seed: fresh.samples(500, seed=seed, constraints=window))
        for run, f in [*runs, draw]:
            start = time.process_time()
            f()
            seconds[run].append(time.process_time() - start)
    rates = {run: 1 / statistics.median(seconds[run]) for run, _ in runs}
    rates["closed form"] *= CANDIDATES
    print(f"\nthe cost of candidates of {name}, {len(space)} decisions, a second of processor time")
    for run, rate in rates.items():
        print(f"  {run:<12} {rate:12.3g}   {rates['closed form'] / rate:.2g} times fewer")
    print(f"  500 samples within constraints: {statistics.median(seconds['500 samples']) * 1e3:.1f} ms")
