"""The kit's check of supernets and evaluators: what is right passes, what is broken is caught."""

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas import testing

X = torch.randn(2, 3, 8, 8)


def supernet():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 5, padding=2)
    )
    rules = [
        mn.rules.kernel_size(3, 5, 7, where="0"),
        mn.rules.replace(nn.Conv2d, ["original", "sep_conv_3x3", "max_pool_3x3"], where="3"),
    ]
    return mn.rewrite(net, rules, example=X)


def test_supernets_keep_the_law_at_every_point_and_are_left_alone():
    net = supernet()
    point = net.space.unrank(5)
    net.train().activate(point)
    testing.check_supernet(net, X, points=[net.space.unrank(i) for i in range(9)])
    assert net.training
    assert net.active_point == point


def test_a_supernet_that_breaks_the_law_is_caught():
    net = supernet()
    net.register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(AssertionError, match="the derived network differs from the activated supernet"):
        testing.check_supernet(net, X)


def test_a_supernet_with_a_wrong_cost_is_caught(monkeypatch):
    net = supernet()
    cost = net.cost
    monkeypatch.setattr(type(net), "cost", lambda self, points: {**cost(points), "macs": 1})
    with pytest.raises(AssertionError, match=r"cost says 1 macs, torch counts \d+ for this input"):
        testing.check_supernet(net, X)


SPACE = mn.SearchSpace({"n": mn.integer(1, 1000)})


def test_evaluators_keep_the_laws():
    testing.check_evaluator(mn.evaluate.Function(lambda point: {"loss": point["n"], "other": 1}), SPACE)
    net = supernet()
    evaluator = mn.evaluate.SharedWeights(net, lambda net: net(X).std().item(), calibration=[X])
    testing.check_evaluator(evaluator, net.space)


class Evaluator:
    def __init__(self, evaluate):
        self.evaluate = evaluate


@pytest.mark.parametrize(
    ("evaluate", "law"),
    [
        (lambda trials: [], "0 outcomes for 4 trials; expected one a trial"),
        (lambda trials: [{"loss": float("nan")} for _ in trials], "trial 0: 'loss' is nan, not finite"),
        (lambda trials: [torch.rand(()).item() for _ in trials], "in another order, give other outcomes"),
        (lambda trials: [i for i, _ in enumerate(trials)], "in another order, give other outcomes"),
        (lambda trials: [mn.Failed("no") for _ in trials], "a trial failed: no"),
    ],
)
def test_broken_evaluators_are_caught(evaluate, law):
    with pytest.raises(AssertionError, match=law):
        testing.check_evaluator(Evaluator(evaluate), SPACE)
