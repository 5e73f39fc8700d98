"""Relaxed supernets: extremes are the discrete points, costs are expectations, states are kept and restored."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import modularnas as mn
from modularnas.nn import RELAXATIONS

X = torch.randn(4, 3, 8, 8)
#: With saturated parameters these run one architecture alone.
SINGLE = ["softmax", "gumbel", "straight_through", "binary_gate", "index", "reinmax"]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


def net():
    blocks = nn.Sequential(Block(), Block(), Block())
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), blocks, nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
    )


RULES = [
    mn.rules.kernel_size(3, 5, where=["0", "3"]),
    mn.rules.depth(where=Block),
    mn.rules.replace(nn.Conv2d, ["original", "sep_conv_3x3", "dil_conv_3x3", "identity", "none"], where="3"),
]


def supernet(rules=RULES):
    return mn.rewrite(net(), rules, example=X)


def saturate(relaxed, point, value=60.0):
    """Parameters that leave only the choices of a point."""
    space = relaxed.supernet.space
    with torch.no_grad():
        for name, alpha in relaxed.supernet.alpha.items():
            alpha.zero_()
            if name in point:
                alpha[space[name].choices.index(point[name])] = value


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("train", [False, True])
def test_saturated_parameters_run_the_discrete_point(name, train):
    net = supernet().double()
    for point in net.space.samples(6, seed=2):
        net.eval().activate(point)
        expected = net(X.double())
        torch.testing.assert_close(expected, mn.derive(net, point).eval()(X.double()))
        net.relax(name)
        saturate(net.relaxed, point)
        for module in net.modules():
            module.training = train and not isinstance(module, nn.modules.batchnorm._BatchNorm)
        torch.testing.assert_close(net(X.double()), expected)
        assert net.relaxed.point() == point
        if net.relaxed.drawn is not None:
            assert net.relaxed.drawn == point


@pytest.mark.parametrize("name", RELAXATIONS)
def test_the_law_at_the_discrete_point_of_every_relaxation(name):
    rules = RULES if name != "partial_channels" else [mn.rules.depth(where=Block), RULES[2]]
    net = supernet(rules).relax(name, seed=4)
    for _ in range(2):
        net.train()(X)
    with torch.no_grad():
        for alpha in net.alpha.values():
            alpha.copy_(torch.randn(alpha.shape))
    point = net.relaxed.point()
    derived = mn.derive(net, point).eval()  # still relaxed
    assert net.relaxed is not None
    net(X)
    net.eval().activate(point)
    assert net.relaxed is None
    torch.testing.assert_close(net(X), mn.derive(net, point).eval()(X))
    assert not any(type(module).__module__.startswith("modularnas") for module in derived.modules())


@pytest.mark.parametrize("name", sorted({*RELAXATIONS} - {"index", "partial_channels"}))
def test_every_relaxation_gives_gradients_to_parameters_and_weights(name):
    net = supernet([RULES[2]]).relax(name).train()
    for _ in range(3):  # a batch norm hides what is behind a drawn "none"
        (net(X) - X[:, :1]).square().sum().backward()
    assert net.alpha["3.op"].grad.abs().sum() > 0
    assert net.model[0].weight.grad.abs().sum() > 0


def test_a_softmax_sum_is_the_sum():
    net = supernet([RULES[2]]).relax("softmax").eval()
    mixed = net.model[3]
    with torch.no_grad():
        net.alpha["3.op"].copy_(torch.randn(5))
    x = torch.randn(2, 8, 8, 8)
    net(X)
    weights = torch.softmax(net.alpha["3.op"], -1)
    torch.testing.assert_close(mixed(x), sum(w * op(x) for w, op in zip(weights, mixed.candidates, strict=True)))


def test_mixed_kernels_are_the_sum_of_convolutions():
    net = supernet([mn.rules.kernel_size(3, 5, where="0")])
    expected = []
    for size in (3, 5):
        net.activate({"0.kernel_size": size})
        expected.append(net.model[0](X))
    net.model[0].weight.data.normal_()
    for i, size in enumerate((3, 5)):
        net.activate({"0.kernel_size": size})
        expected[i] = net.model[0](X)
    net.relax("softmax")
    with torch.no_grad():
        net.alpha["0.kernel_size"].copy_(torch.tensor([0.2, 0.9]))
    net(X)
    p = torch.softmax(net.alpha["0.kernel_size"], -1)
    torch.testing.assert_close(net.model[0](X), p[0] * expected[0] + p[1] * expected[1])
    net.activate({"0.kernel_size": 3})
    torch.testing.assert_close(net.model[0](X), expected[0])


def test_expected_costs_are_the_mean_over_all_points():
    net = supernet([mn.rules.kernel_size(3, 5, where=["0", "3"]), mn.rules.depth(where=Block), RULES[2]])
    net.relax("softmax")
    with torch.no_grad():
        for alpha in net.alpha.values():
            alpha.copy_(torch.randn(alpha.shape))
    weights = net.relaxed.labelled()
    for metric in net.space.metrics:
        total = mass = 0.0
        for rank in range(net.space.size):
            point = net.space.unrank(rank)
            p = 1.0
            for name, choice in point.items():
                p *= weights[name][choice]
            mass += p
            total += p * net.cost(point)[metric]
        assert mass == pytest.approx(1, abs=1e-5)
        cost = net.relaxed.expected_cost(metric)
        assert cost.item() == pytest.approx(total, rel=1e-5)
    torch.autograd.grad(net.relaxed.expected_cost("macs"), list(net.alpha.values()))


def test_widths_stay_at_the_active_point():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), mn.Slot(4, 4))
    net = mn.rewrite(model, [mn.rules.width(0.5, 1.0), mn.rules.slots(["conv_1x1", "identity"])], example=X)
    for width in (4, 8):
        net.activate({"0.width": width, "3.op": "identity"}).relax("softmax")
        net(X)
        assert net.model[0].out_channels == net.relaxed.point()["0.width"] == width
    with pytest.raises(mn.RuleError, match="no decision that can be relaxed; those of mn.rules.replace, slots"):
        supernet([mn.rules.width(0.5, 1.0)]).relax("softmax")


def test_parameters_are_in_the_state_and_on_the_device():
    net = supernet().relax("softmax", seed=3)
    state = net.state_dict()
    assert "alpha.3/op" in state
    other = supernet()
    assert not other.alpha
    other.load_state_dict(state)
    torch.testing.assert_close(dict(other.alpha.items()), dict(net.alpha.items()))
    assert not any(alpha.requires_grad for alpha in other.alpha.values())
    other.relax("softmax")
    torch.testing.assert_close(other.eval()(X), net.eval()(X))
    assert {alpha.dtype for alpha in net.double().alpha.values()} == {torch.float64}
    assert set(supernet().relax("softmax").to("meta").alpha["3.op"].device.type for _ in [0]) == {"meta"}


def test_the_same_seed_gives_the_same_parameters_and_draws():
    def run(seed):
        torch.manual_seed(0)
        net = supernet()
        torch.manual_seed(seed * 7)  # the global generator has no part in it
        net.relax("gumbel", seed=seed).train()
        return [net(X) for _ in range(2)]

    first, again, other = run(1), run(1), run(2)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_a_relaxed_supernet_is_copied_within_its_own_graph():
    net = supernet().relax("gumbel")
    net(X)
    clone = copy.deepcopy(net)
    assert clone.relaxed.supernet is clone
    with torch.no_grad():
        clone.alpha["3.op"].fill_(5.0)
    assert not torch.equal(net.alpha["3.op"], clone.alpha["3.op"])
    clone(X)
    clone.activate(clone.space.sample(seed=0))
    net(X)
    assert net.relaxed is not None


def test_checkpoints_recompute_with_the_same_draws():
    class Net(nn.Module):
        def __init__(self, recompute):
            super().__init__()
            self.body, self.recompute = net(), recompute

        def forward(self, x):
            return checkpoint(self.body, x, use_reentrant=False) if self.recompute else self.body(x)

    found = []
    for recompute in (False, True):
        torch.manual_seed(0)
        rules = [mn.rules.replace(nn.Conv2d, ["conv_3x3", "sep_conv_3x3", "identity"], where="body.3")]
        made = mn.rewrite(Net(recompute), rules, example=X).relax("straight_through", seed=5)
        made(X).square().sum().backward()
        found.append(made.alpha["body.3.op"].grad)
    torch.testing.assert_close(*found)


def test_decisions_may_weigh_some_candidates_alone():
    net = supernet().relax("softmax", candidates={"3.op": ["identity", "sep_conv_3x3"]})
    calls = []
    for name, candidate in zip(net.model[3].names, net.model[3].candidates, strict=True):
        candidate.register_forward_hook(lambda *_, name=name: calls.append(name))
    net(X)
    assert calls == ["sep_conv_3x3", "identity"]
    assert list(net.relaxed.labelled()["3.op"]) == ["sep_conv_3x3", "identity"]
    assert net.relaxed.probabilities()["3.op"].tolist()[0] == 0


@pytest.mark.parametrize(
    ("name", "expected"), [("softmax", 4), ("straight_through", 1), ("binary_gate", 2), ("index", 1)]
)
def test_only_what_is_needed_runs(name, expected):
    net = supernet([RULES[2]]).relax(name)
    calls = []
    for candidate in net.model[3].candidates:
        candidate.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    net.train()(X)
    assert len(calls) == expected
    assert sum(calls) == (4 if name == "softmax" else 1)  # "none" is not computed in a sum


def test_sampling_and_relaxation_exclude_one_another():
    net = supernet().train().sampling("uniform").relax("softmax")
    net(X)
    assert net.relaxed is not None
    net.sampling("uniform")
    assert net.relaxed is None
    points = {(net(X), net.active_point)[1] for _ in range(8)}
    assert len(points) > 1
    for point in points:
        net.eval().activate(point)
        torch.testing.assert_close(net(X), mn.derive(net, point).eval()(X))


def test_log_probabilities_count_active_decisions_alone():
    net = supernet().relax("binary_gate", paths=1).train()
    for _ in range(12):
        net(X)
        point, weights = net.relaxed.drawn, net.relaxed.labelled()
        expected = sum(torch.tensor(weights[name][choice]).log() for name, choice in point.items())
        torch.testing.assert_close(net.relaxed.log_probability(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"relaxation": "sofmax"}, "relax is given 'sofmax'; did you mean 'softmax'"),
        ({"relaxation": "softmax", "temperature": -1}, "relax cannot make 'softmax': temperature is -1"),
        ({"relaxation": "softmax", "heat": 1}, "relax cannot make 'softmax'.*heat"),
        ({"candidates": {"3": ["none"]}}, "'3' is no relaxed decision"),
        ({"candidates": {"3.op": ["nothing"]}}, r"'3.op' is to keep \['nothing'\]; expected one or more of"),
        ({"relaxation": "partial_channels", "share": 3}, r"candidate 'original' of '3.op' on 1 / 3 of its channels"),
    ],
)
def test_errors_say_what_is_wrong(settings, text):
    net = supernet([RULES[2]])
    with pytest.raises(mn.RuleError, match=text):
        net.relax(**settings)
    net.activate(net.space.sample(seed=0))
    net(X)


def test_nested_decisions_are_relaxed_in_place():
    rules = [
        mn.rules.replace(Block, ["original", "identity"], where="2.1"),
        mn.rules.replace(nn.Conv2d, ["original", "conv_1x1"], where="2.1.conv"),
    ]
    net = supernet(rules).relax("softmax").eval()
    assert set(net.alpha) == {"2.1.op", "2.1.conv.op"}
    for outer, inner in itertools.product(["original", "identity"], ["original", "conv_1x1"]):
        point = {"2.1.op": outer, **({"2.1.conv.op": inner} if outer == "original" else {})}
        saturate(net.relaxed, point)
        assert dict(net.relaxed.point()) == point
        relaxed = net(X)
        torch.testing.assert_close(relaxed, mn.derive(net, point).eval()(X))
