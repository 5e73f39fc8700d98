"""Batch norms with statistics for every choice, and several networks in one pass over the calibration."""

import copy

import pytest
import torch
from torch import nn

import modularnas as mn

X = torch.randn(8, 3, 10, 10)
RULES = [mn.rules.width(0.5, 1.0), mn.rules.kernel_size(3, 5), mn.rules.replace(nn.ReLU, ["original", nn.SiLU])]


def rewritten(mode="sliced"):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, padding=1),
        nn.BatchNorm2d(6, affine=False),
        nn.Conv2d(6, 2, 1),
    )
    return mn.rewrite(net, RULES, example=X, mode=mode)


@pytest.mark.parametrize("mode", ["sliced", "masked"])
def test_statistics_are_those_of_the_choice_alone(mode):
    supernet = rewritten(mode).private_batch_norm().train()
    small, large = supernet.space.extremes("macs")
    for norm in supernet.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # a plain average, which is exact to compare
    alone = {}
    for point, scale in ((small, 1.0), (large, 3.0), (small, 2.0), (large, 5.0)):
        supernet.activate(point)(X * scale)
        if point not in alone:
            net = alone[point] = mn.derive(rewritten(), point).train()
            net[1].momentum = net[4].momentum = None
        alone[point](X * scale)
    for point, net in alone.items():
        derived = mn.derive(supernet, point)
        torch.testing.assert_close(derived[1].running_mean, net[1].running_mean)
        torch.testing.assert_close(derived[4].running_var, net[4].running_var, rtol=1e-4, atol=1e-6)
        assert derived[1].num_batches_tracked == 2
        assert not any("private" in name for name in derived.state_dict())
        torch.testing.assert_close(supernet.eval().activate(point)(X), derived.eval()(X), rtol=1e-4, atol=1e-5)
        supernet.train()


def test_they_are_saved_copied_and_moved():
    supernet = rewritten().private_batch_norm().train().sampling("uniform", seed=1)
    for _ in range(12):
        supernet(X)
    supernet.sampling(None).eval()
    points = supernet.space.samples(5, seed=3)
    loaded = rewritten().private_batch_norm().eval()
    loaded.load_state_dict(supernet.state_dict())
    moved = copy.deepcopy(supernet).double().float()
    for point in points:
        out = supernet.activate(point)(X)
        for other in (loaded, copy.deepcopy(supernet), moved):
            torch.testing.assert_close(other.activate(point)(X), out)
    # What a moved supernet learns is in its table still.
    point = points[0]
    moved.train().activate(point)(X + 3)
    moved.activate(points[1]).activate(point)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(moved.eval()(X), supernet.activate(point)(X))


def test_deriving_leaves_the_active_point():
    supernet = rewritten().private_batch_norm()
    active = supernet.active_point
    mn.derive(supernet, supernet.space.sample(seed=5))
    assert supernet.active_point == active


def test_several_networks_in_one_pass():
    supernet = rewritten()
    nets = [mn.derive(supernet, point) for point in supernet.space.samples(4, seed=0)]
    alone = copy.deepcopy(nets)
    taken = []

    def loader():
        for scale in (1.0, 2.0):
            taken.append(scale)
            yield X * scale, torch.zeros(8)

    assert mn.evaluate.recalibrate(nets, loader()) == 2
    assert taken == [1.0, 2.0]
    for net, other in zip(nets, alone, strict=True):
        mn.evaluate.recalibrate(other, [X, X * 2])
        for a, b in zip(net.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("policy", ["recalibrate", "batch", "private", "none"])
def test_scores_do_not_depend_on_what_is_scored_together(policy):
    supernet = rewritten().private_batch_norm().train().sampling("uniform")
    for _ in range(6):
        supernet(X)
    supernet.sampling(None)

    def evaluator(**settings):
        return mn.evaluate.SharedWeights(
            supernet, lambda net: net(X).square().mean().item(), batch_norm=policy, calibration=[X, X + 1], **settings
        )

    def scores(evaluator, batch):
        study = mn.Study(supernet.space, mn.search.Random(), {"accuracy": "max"}, seed=4)
        study.optimize(evaluator, trials=6, batch=batch, progress=False)
        return [trial.values["accuracy"] for trial in study.trials]

    assert scores(evaluator(), 1) == scores(evaluator(n_together=4), 6)
