"""Every ready space: published sizes and reference networks, and the law of weight sharing."""

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import modularnas as mn
from modularnas.testing import check_supernet

SPACES = mn.spaces

#: Settings for which a supernet is small, and the size that the published space has in them.
CASES = {
    "audio_resnet34": ({"image_size": 16, "channels": 4}, 4**16),
    "ctr_branches": ({"sizes": (5, 7), "n_numbers": 2, "branches": 2}, 6**2),
    "darts": ({"image_size": 16, "channels": 4, "layers": 3}, (180 * 8**8) ** 2),
    "enas": ({"image_size": 8, "channels": 4}, 6**12 * 2**66),
    "mobilenet_v2": ({"image_size": 32, "num_classes": 10, "width": 0.25}, 6**16),
    "mobilenet_v3": ({"image_size": 32, "num_classes": 10}, (9**2 + 9**3 + 9**4) ** 5),
    "nasbench101": ({"channels": 4, "cells": 1}, 2**21 * 3**5),
    "nasbench201": ({"channels": 4, "cells": 1}, 5**6),
    "nasbench_macro": ({}, 3**8),
    "nasnet": (
        {"image_size": 16, "channels": 4, "layers": 3, "ops": ("skip_connect", "sep_conv_3x3")},
        (math.factorial(6) * 2**5) ** 4,
    ),
    "nats_size": ({}, 8**5),
    "proxylessnas": ({"image_size": 32, "num_classes": 10, "widths": (8, 16, 24, 32, 40, 48)}, 6**6 * 7**15),
    "pyramidnet": ({}, 3**9),
    "resnet": ({"image_size": 32, "depth": 20}, 3**18),
    "resnext": ({"image_size": 32, "num_classes": 10}, 3**16),
    "shufflenet_v2": ({"image_size": 32, "num_classes": 10}, 4**20),
    "stacnas": ({"image_size": 16, "channels": 4, "layers": 3}, (180 * 5**8) ** 2),
    "transformer_lm": ({}, 2**2 * 3**2 + 2**3 * 3**3 + 2**4 * 3**4),
    "vit": (
        {"image_size": 32, "num_classes": 10, "features": (48, 64), "heads": (1, 2), "depths": (2, 3)},
        2 * (4**2 + 4**3),
    ),
}
#: Those whose law takes long.
SLOW = {
    "audio_resnet34",
    "darts",
    "enas",
    "mobilenet_v3",
    "nasbench101",
    "nasnet",
    "proxylessnas",
    "resnext",
    "shufflenet_v2",
}


def as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


def test_every_space_is_tested():
    assert set(CASES) == set(mn.spaces.names())


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CASES])
def test_size_training_and_law(name):
    settings, size = CASES[name]
    supernet, x = mn.spaces.create(name, **settings)
    assert supernet.space.size == size
    assert {len(part) for part in as_tuple(x)} == {1}  # costs are those of one picture
    supernet.train().sampling("uniform", seed=0)
    supernet(*(torch.cat([part, part]) for part in as_tuple(x))).square().mean().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in supernet.parameters())
    supernet.sampling(None)
    check_supernet(supernet, x, 2, rtol=1e-4, atol=1e-4)


def costs(net, size):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.randn(1, 3, size, size))
    return sum(p.numel() for p in net.parameters()), counter.get_total_flops() / 2e6


def resnet(depth, image_size=224, num_classes=1000, room=SPACES.resnet):
    return room.create(num_classes, image_size, depth=depth)[0]


#: Network, size of its pictures, published parameters and million multiply-adds (None: not published).
REFERENCES = {
    "DARTS V1": (lambda: SPACES.darts.from_genotype(SPACES.darts.DARTS_V1), 32, 3_169_414, None),
    "DARTS V2": (lambda: SPACES.darts.from_genotype(SPACES.darts.DARTS_V2), 32, 3_349_342, None),
    "DARTS V2, ImageNet": (
        lambda: SPACES.darts.from_genotype(
            SPACES.darts.DARTS_V2, num_classes=1000, channels=48, layers=14, stem="imagenet"
        ),
        224,
        4_718_752,
        None,
    ),
    "MobileNetV2": (lambda: SPACES.mobilenet_v2.network(), 224, 3_504_872, 300.8),
    "ProxylessNAS, mobile": (lambda: SPACES.proxylessnas.from_ops(), 224, 4_080_512, 320.4),
    "SPOS": (lambda: SPACES.shufflenet_v2.from_blocks(), 224, 3_432_579, 327.9),
    "ResNet-18": (lambda: resnet(18), 224, 11_689_512, 1814.1),
    "ResNet-34": (lambda: resnet(34), 224, 21_797_672, 3663.8),
    "ResNet-50": (lambda: resnet(50), 224, 25_557_032, 4089.2),
    "ResNet-101": (lambda: resnet(101), 224, 44_549_160, 7801.4),
    "ResNeXt-50 32x4d": (lambda: resnet(50, room=SPACES.resnext), 224, 25_028_904, 4230.5),
    "ResNeXt-101 32x8d": (lambda: resnet(101, room=SPACES.resnext), 224, 88_791_336, 16414.0),
    "DeiT-tiny": (lambda: SPACES.vit.network(192, 3, 4, 12), 224, 5_717_416, None),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_published_parameters_and_macs(name):
    build, size, params, macs = REFERENCES[name]
    with torch.device("meta"):
        net = build()
        found = costs(net, size)
    assert found[0] == params
    assert macs is None or found[1] == pytest.approx(macs, abs=0.1)


def test_pyramidnet_is_as_large_as_published():
    def block(slot):
        return mn.ops.build("pyramid_block_3x3", slot)

    for alpha, params in ((48, 1.7e6), (84, 3.8e6)):
        with torch.device("meta"):
            net = mn.spaces.pyramidnet.network(block, blocks=(18, 18, 18), alpha=alpha)
        assert sum(p.numel() for p in net.parameters()) == pytest.approx(params, rel=0.05)


def test_cells_of_nasnet_are_as_large_as_published():
    for genotype, channels, params in ((SPACES.nasnet.NASNET_A, 33, 3.3e6), (SPACES.nasnet.AMOEBANET_A, 36, 3.2e6)):
        with torch.device("meta"):
            net = mn.spaces.darts.from_genotype(genotype, channels=channels)
        assert sum(p.numel() for p in net.parameters()) == pytest.approx(params, rel=0.05)


def test_once_for_all_has_the_published_number_of_points():
    # "more than 10^19" (Cai et al. 2020, section 3.2); the smallest and the largest network of it.
    with torch.device("meta"):
        small = SPACES.mobilenet_v3.from_config([3] * 20, [3] * 20, [2] * 5)
        large = SPACES.mobilenet_v3.from_config([7] * 20, [6] * 20, [4] * 5)
        assert costs(small, 224)[1] < 125 < 560 < costs(large, 224)[1]
    assert (9**2 + 9**3 + 9**4) ** 5 > 1e19


@pytest.mark.parametrize(
    ("name", "settings", "size"),
    [
        ("mobilenet_v2", {"variant": "gpu", "width": 0.25}, 6**21),  # ModularNAS' 21 blocks
        ("mobilenet_v2", {"skip": True, "width": 0.25}, 6**6 * 7**10),
        ("resnet", {"depth": 20, "search": "op"}, 3**18),
        ("resnet", {"depth": 20, "search": "block"}, 4**9),
    ],
)
def test_sizes_of_variants(name, settings, size):
    supernet, _ = mn.spaces.create(name, num_classes=10, image_size=16, **settings)
    assert supernet.space.size == size


@pytest.mark.slow
def test_size_without_none_is_that_of_the_darts_paper():
    supernet, _ = mn.spaces.create("darts", image_size=16, channels=4, layers=3, ops=SPACES.darts.OPS[1:])
    assert supernet.space.size == (180 * 7**8) ** 2


def test_genotypes_and_points_are_the_same():
    darts = mn.spaces.darts
    published_ops = sorted({op for op, _ in (*darts.DARTS_V1.normal, *darts.DARTS_V1.reduce)} | {"dil_conv_3x3"})
    supernet, _ = mn.spaces.create("darts", image_size=16, channels=2, layers=3, ops=published_ops)
    for published in (darts.DARTS_V1, darts.DARTS_V2):
        found = darts.genotype(darts.point(published, supernet.space))
        for kind in darts.KINDS:
            pairs = zip(darts.by_node(getattr(found, kind)), darts.by_node(getattr(published, kind)), strict=True)
            assert all(sorted(mine) == sorted(theirs) for mine, theirs in pairs)
    net = mn.derive(supernet, darts.point(darts.DARTS_V2, supernet.space))
    # Two edges of each node, in each of three cells.
    assert sum(name.endswith("op") for name, _ in net.named_modules()) == 3 * 8


def test_cells_of_a_kind_are_alike():
    supernet, _ = mn.spaces.create("nasbench201", channels=4, cells=2)
    supernet.activate({d.name: "nor_conv_1x1" for d in supernet.space.decisions})
    kinds = {m.active_candidate[1].kernel_size for m in supernet.modules() if hasattr(m, "active_candidate")}
    assert kinds == {(1, 1)}


def test_stacnas_opens_the_group_of_what_was_found():
    found = mn.spaces.darts.DARTS_V2
    supernet, x = mn.spaces.create("stacnas", image_size=16, channels=4, layers=3, stage=2, genotype=found)
    choices = {d.name: d.choices for d in supernet.space.decisions}
    assert choices["normal.0.0"] == ("none", "sep_conv_3x3", "sep_conv_5x5")
    assert choices["normal.2.0"] == ("skip_connect",)
    second = mn.spaces.stacnas.genotype(supernet.space.sample(seed=0), found)
    assert [source for _, source in second.normal] == [source for _, source in found.normal]
    check_supernet(supernet, x, 1)


def test_auxiliary_head_is_a_second_output():
    net = mn.spaces.darts.from_genotype(mn.spaces.darts.DARTS_V1, channels=4, layers=5, auxiliary=True)
    logits, auxiliary = net.train()(torch.randn(2, 3, 32, 32))
    assert logits.shape == auxiliary.shape == (2, 10)


@pytest.mark.parametrize("name", ["nasbench201", "nasbench_macro"])
def test_costs_of_a_benchmark_are_ours(name, data):
    with np.load(data / f"{name}.npz") as file:
        tables = {key: file[key] for key in file.files}
    supernet, _ = mn.spaces.create(name)
    bench = {"nasbench201": mn.benchmarks.NASBench201, "nasbench_macro": mn.benchmarks.NASBenchMacro}[name](
        data / f"{name}.npz"
    )
    points = bench.space.samples(40, seed=0)
    mine = supernet.cost([dict(p) for p in points])
    theirs = [bench.query(p) for p in points]
    assert mine["params"].tolist() == [int(row["params"]) for row in theirs]
    macs = mine["macs"]
    if name == "nasbench_macro":
        assert macs.tolist() == [int(row["macs"]) for row in theirs]
        assert len(tables["params"]) == supernet.space.size
    else:  # published ones count norms and pools too
        ratio = np.array([row["macs"] for row in theirs]) / macs
        assert (ratio > 1).all()
        assert (ratio < 1.15).all()


def test_parameters_of_published_cells_are_ours(data):
    with np.load(data / "nasbench101.npz") as z:
        n, bits, codes, params = (z[key] for key in ("n", "adj", "ops", "params"))
    for row in np.random.default_rng(0).integers(len(n), size=100):
        size = int(n[row])
        matrix = [
            [int(bits[row]) >> (x + y * (y - 1) // 2) & 1 if x < y else 0 for y in range(size)] for x in range(size)
        ]
        ops = [mn.spaces.nasbench101.OPS[int(codes[row]) // 3**i % 3] for i in range(size - 2)]
        with torch.device("meta"):
            net = mn.spaces.nasbench101.from_cell(matrix, ops)
        assert sum(p.numel() for p in net.parameters()) == params[row]


def test_points_of_nasbench101_are_those_of_the_benchmark(data):
    bench = mn.benchmarks.NASBench101(data / "nasbench101.npz")
    supernet, _ = mn.spaces.create("nasbench101", channels=4, cells=1)
    point = supernet.space.sample(seed=0)
    assert mn.spaces.nasbench101.to_cell(point) == mn.spaces.nasbench101.to_cell(
        bench.space.point(mn.spaces.nasbench101.to_benchmark(point))
    )


def test_errors_say_what_there_is():
    with pytest.raises(mn.SpaceError, match=r"no ready space 'dart'; did you mean 'darts'"):
        mn.spaces.create("dart")
    with pytest.raises(
        mn.SpaceError, match=r"the space 'nats_size' is given depth; its settings are num_classes, image_size"
    ):
        mn.spaces.create("nats_size", depth=3)
    with pytest.raises(mn.SpaceError, match=r"layers=2; expected 3 or more"):
        mn.spaces.create("darts", layers=2)
    with pytest.raises(mn.SpaceError, match=r"resnet is given depth=19"):
        mn.spaces.create("resnet", depth=19)
    with pytest.raises(mn.SpaceError, match=r"leads nowhere"):
        mn.spaces.nasbench101.from_cell([[0, 0, 0], [0, 0, 1], [0, 0, 0]], ["maxpool3x3"])
    with pytest.raises(mn.SpaceError, match=r"the second stage needs one"):
        mn.spaces.create("stacnas", stage=2)
