"""Relaxations: each against its formula, hand-derived gradients, and the distribution that it draws from."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from modularnas.nn import RELAXATIONS
from modularnas.nn.relax import (
    BinaryGate,
    Dirichlet,
    DropPath,
    Exponential,
    Gumbel,
    Index,
    ReinMax,
    Sigmoid,
    Softmax,
    StraightThrough,
    UniformGate,
    partial_channels,
    reinmax,
    strongest,
    strongest_edges,
)

LOGITS = torch.tensor([[0.3, -1.0, 0.8], [2.0, 0.0, -0.5]], dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def jacobian_row(gates, logits, direction):
    return torch.autograd.grad((gates.weights * direction).sum(), logits)[0]


def test_softmax_and_sigmoid_are_their_formulas():
    torch.testing.assert_close(Softmax(2.0).gates(LOGITS, None).weights, torch.softmax(LOGITS / 2, -1))
    torch.testing.assert_close(Sigmoid().gates(LOGITS, None).weights, torch.sigmoid(LOGITS))
    assert Softmax().gates(LOGITS, None).paths is None


@pytest.mark.parametrize("name", RELAXATIONS)
def test_draws_depend_on_the_generator_alone(name):
    relaxation = RELAXATIONS[name]()
    first = relaxation.gates(LOGITS, generator(3))
    torch.manual_seed(99)
    again = relaxation.gates(LOGITS, generator(3))
    assert (first.paths, first.watched) == (again.paths, again.watched)
    if first.weights is not None:
        torch.testing.assert_close(first.weights, again.weights, rtol=0, atol=0)


@pytest.mark.parametrize("relaxation", [StraightThrough(), BinaryGate(paths=1), ReinMax(), Gumbel(0.01)], ids=repr)
def test_candidates_are_drawn_by_their_probabilities(relaxation):
    rows = LOGITS[:1].expand(20_000, 3)
    gates = relaxation.gates(rows, generator())
    drawn = gates.weights.argmax(-1) if gates.paths is None else torch.tensor(gates.paths)[:, 0]
    share = torch.bincount(drawn, minlength=3) / len(rows)
    torch.testing.assert_close(share.double(), torch.softmax(LOGITS[0], -1), rtol=0, atol=0.015)


def test_uniform_gates_are_drawn_uniformly():
    drawn = torch.tensor(UniformGate(paths=1).gates(LOGITS[1:].expand(20_000, 3), generator()).paths)[:, 0]
    torch.testing.assert_close(torch.bincount(drawn) / 20_000, torch.full((3,), 1 / 3), rtol=0, atol=0.015)


@pytest.mark.parametrize("relaxation", [StraightThrough(0.7), StraightThrough(0.7, watch=True)], ids=repr)
def test_straight_through_is_hard_with_the_gradient_of_the_soft_draw(relaxation):
    logits = LOGITS.clone().requires_grad_()
    gates = relaxation.gates(logits, generator(5))
    assert gates.weights.sum(-1).tolist() == [1.0, 1.0]
    assert set(gates.weights.flatten().tolist()) == {0.0, 1.0}
    direction = torch.randn(2, 3, dtype=torch.float64)
    soft = Gumbel(0.7).gates(logits, generator(5))
    torch.testing.assert_close(jacobian_row(gates, logits, direction), jacobian_row(soft, logits, direction))
    assert [path[0] for path in gates.paths] == soft.weights.argmax(-1).tolist()


def test_binary_gates_have_the_gradient_of_proxylessnas():
    """Equation 4 over the two that were drawn: sum_j dL/dg_j p_j (delta_ij - p_i)."""
    logits = LOGITS.clone().requires_grad_()
    gates = BinaryGate().gates(logits, generator(1))
    of_gates = torch.randn(2, 3, dtype=torch.float64)
    found = jacobian_row(gates, logits, of_gates)
    for row in range(2):
        pair = [*gates.paths[row], *gates.watched[row]]
        assert len(set(pair)) == 2
        p = torch.softmax(LOGITS[row, pair], -1)
        expected = torch.zeros(3, dtype=torch.float64)
        for i, code in enumerate(pair):
            expected[code] = sum(of_gates[row, other] * p[j] * (float(i == j) - p[i]) for j, other in enumerate(pair))
        torch.testing.assert_close(found[row], expected)
        assert gates.weights[row, gates.paths[row][0]] == 1


def test_one_binary_path_and_the_index_have_no_gates():
    assert BinaryGate(paths=1).gates(LOGITS, generator()).weights is None
    assert Index().gates(LOGITS, generator()) == (None, [[2], [0]], None)
    assert BinaryGate().gates(LOGITS, None).paths == [[2], [0]]  # without noise the most probable one


def test_reinmax_is_exact_for_quadratic_functions(monkeypatch):
    """The mean of the estimator over all draws is the gradient of the expectation: it is of second order."""
    logits = LOGITS[:1].clone().requires_grad_()
    matrix, vector = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)

    def function(x):
        return x @ (matrix + matrix.T) @ x + vector @ x

    p = torch.softmax(logits[0], -1)
    exact = torch.autograd.grad(sum(p[i] * function(torch.eye(3, dtype=torch.float64)[i]) for i in range(3)), logits)[0]
    mean = torch.zeros_like(exact)
    for code in range(3):
        monkeypatch.setattr(reinmax, "draw", lambda *_, code=code: [[code]])
        weights = ReinMax().gates(logits, generator()).weights
        assert weights[0].tolist() == torch.eye(3)[code].tolist()
        mean += p[code].detach() * torch.autograd.grad(function(weights[0]), logits)[0]
    torch.testing.assert_close(mean, exact)


def test_dirichlet_draws_have_the_mean_and_its_gradient():
    logits = LOGITS[:1].clone().requires_grad_()
    rows = logits.expand(40_000, 3)
    weights = Dirichlet().gates(rows, generator()).weights
    torch.testing.assert_close(weights.sum(-1), torch.ones(40_000, dtype=torch.float64))
    mean = Dirichlet().probabilities(logits)
    torch.testing.assert_close(weights.mean(0), mean[0], rtol=0, atol=0.01)
    direction = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = torch.autograd.grad((weights * direction).sum(-1).mean(), logits)[0]
    torch.testing.assert_close(found, torch.autograd.grad((mean * direction).sum(), logits)[0], rtol=0, atol=0.02)


@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_are_pc_darts(stride):
    """The first channels go through candidates of that many channels, the others pass by, and all are shuffled."""
    whole = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, stride=stride, groups=8, bias=False), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
    )
    small = nn.Sequential(
        nn.Conv2d(2, 2, 3, padding=1, stride=stride, groups=2, bias=False), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
    )
    small[0].weight.data = whole[0].weight.data[:2]
    small[1].weight.data, small[1].bias.data = whole[1].weight.data[:2, :2], whole[1].bias.data[:2]
    classes = [type(module) for module in whole]
    x = torch.randn(2, 8, 6, 6)
    rest = x[:, 2:] if stride == 1 else functional.max_pool2d(x[:, 2:], 2)
    joined = torch.cat([small(x[:, :2]), rest], 1)
    expected = torch.stack([joined[:, 4 * 0 + i] for i in range(8)], 1).view(2, 4, 2, *rest.shape[2:])
    expected = expected.transpose(1, 2).reshape(2, 8, *rest.shape[2:])
    changed = partial_channels.shrink(whole, 4)
    torch.testing.assert_close(partial_channels.pass_by(whole(x[:, :2]), x[:, 2:], 4), expected)
    torch.testing.assert_close(whole[2].running_mean[:2], small[2].running_mean)
    partial_channels.unshrink(changed)
    assert [type(module) for module in whole] == classes
    assert whole[0].groups == 8
    assert whole(x).shape[1] == 8


def test_what_cannot_be_shrunk_is_refused():
    with pytest.raises(ValueError, match=r"its layer '0' has 6 channels, no multiple of 4"):
        partial_channels.shrink(nn.Sequential(nn.Conv2d(6, 8, 1)), 4)
    with pytest.raises(ValueError, match=r"its layer '' \(Linear\) is no plain convolution or batch norm"):
        partial_channels.shrink(nn.Linear(4, 4), 2)
    with pytest.raises(ValueError, match="has 2 groups"):
        partial_channels.shrink(nn.Conv2d(4, 8, 1, groups=2), 2)


def test_choices_are_darts_rule():
    assert strongest({"a": 1.0, "b": 1.0, "c": 0.5}, 2) == ["a", "b"]  # the first of equals
    assert strongest({"none": 1.0}, without=["none"]) == ["none"]
    edges = [{"none": 9.0, "a": 0.2}, {"none": 0.0, "a": 0.3}, {"none": 0.0, "a": 0.1}, {"none": 0.0, "a": 0.3}]
    assert strongest_edges(edges, 2) == [1, 3]
    assert strongest_edges(edges, 3) == [0, 1, 3]


def test_drop_path_drops_examples_and_keeps_the_mean():
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    y = drop(x)
    assert sorted(set(y.flatten().tolist())) == pytest.approx([0.0, 4 / 3])
    assert all(len(set(example.flatten().tolist())) == 1 for example in y[:50])
    assert y.mean().item() == pytest.approx(1, abs=0.05)
    assert drop.eval()(x) is x


def test_schedules_restart():
    schedule = Exponential(4.0, rate=1.0, every=2, restart=4)
    assert [schedule(step) for step in range(6)] == [schedule(0), schedule(0), schedule(2), schedule(2), 4.0, 4.0]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Softmax(0), "temperature is 0; expected more than 0"),
        (lambda: BinaryGate(paths=0), "paths is 0; expected 1"),
        (lambda: partial_channels.PartialChannels(share=0), "share is 0; expected an integer of 1 or more"),
        (lambda: DropPath(1.0), "rate is 1.0; expected 0 or more and below 1"),
    ],
)
def test_settings_are_checked(make, text):
    with pytest.raises(ValueError, match=text):
        make()
