"""Evaluation of 100 neighbours of one point with shared weights: common beginnings computed once, against one by one.

ProxylessNAS' space at 64 x 64, 32 pictures, one thread, processor time, once each: a run takes a minute. Both derive
every neighbour.
"""

import pytest
import torch

import modularnas as mn

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("policy", ["recalibrate", "none"])
def test_neighbours_against_one_by_one(policy, seconds):
    torch.set_num_threads(1)
    supernet, _ = mn.spaces.create("proxylessnas", num_classes=10, image_size=64)
    points = supernet.space.neighbours(supernet.space.sample(seed=0))
    asked = mn.evaluate.candidates(points[:: len(points) // 100][:100])
    images = torch.randn(32, 3, 64, 64)
    found = {}

    def score(net):
        with torch.no_grad():
            return net(images).square().mean()

    def evaluate(prefix_bytes):
        settings = {"batch_norm": policy, "calibration": [images], "prefix_bytes": prefix_bytes, "costs": False}
        found[prefix_bytes] = mn.evaluate.SharedWeights(supernet, score, **settings).evaluate(asked)

    times = seconds({"alone": lambda: evaluate(0), "shared": lambda: evaluate(2**30)}, rounds=1)
    assert found[0] == found[2**30]
    ratio = times["shared"] / times["alone"]
    print(f"{len(asked)} neighbours, {policy}: {times['shared']:.1f} s, one by one {times['alone']:.1f} s: {ratio:.2f}")
    assert ratio < 1
