"""Zero-cost proxies: definitions by hand, nothing changed even after an error, ensembles."""

import numpy as np
import pytest
import torch
from torch import nn

import modularnas as mn

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(8, 3, 8, 8, generator=G), torch.arange(8) % 4
measure = mn.evaluate.zero_cost.measure


def make():
    torch.manual_seed(1)
    conv = nn.Conv2d(3, 6, 3, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


def snapshot(net):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    modes = [m.training for m in net.modules()]
    return {k: v.clone() for k, v in net.state_dict().items()}, hooks, modes, [p.grad for p in net.parameters()]


def assert_same(net, before, state):
    weights, hooks, modes, gradients = before
    now, now_hooks, now_modes, now_gradients = snapshot(net)
    assert all(torch.equal(now[name], weights[name]) for name in weights)
    assert (hooks, modes, gradients) == (now_hooks, now_modes, now_gradients)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("proxy", mn.evaluate.zero_cost.names())
def test_nothing_changes_and_the_answer_repeats(proxy):
    net = make()
    before, state = snapshot(net), torch.get_rng_state()
    first = measure(net, proxy, (X, Y))
    assert np.isfinite(first)
    assert first == measure(net, proxy, (X, Y))
    assert_same(net, before, state)
    assert mn.evaluate.zero_cost.describe(proxy)


@pytest.mark.parametrize("proxy", mn.evaluate.zero_cost.names())
def test_nothing_changes_after_an_error(proxy):
    class Breaks(nn.Module):
        def forward(self, x):
            torch.rand(3)
            raise KeyError("mine")

    net = nn.Sequential(make(), Breaks())
    before, state = snapshot(net), torch.get_rng_state()
    if proxy in ("params", "l2_norm"):
        measure(net, proxy, (X, Y))
    else:
        with pytest.raises(KeyError, match="mine"):
            measure(net, proxy, (X, Y))
    assert_same(net, before, state)


def gradients():
    net = make().eval()
    net[1].train()
    weights = [net[0].weight, net[5].weight]
    return net, weights, torch.autograd.grad(nn.functional.cross_entropy(net(X), Y), weights, create_graph=True)


def test_first_order_proxies_by_hand():
    _, weights, grads = gradients()
    pairs = [(w.detach(), g.detach()) for w, g in zip(weights, grads, strict=True)]
    assert measure(make(), "grad_norm", (X, Y)) == pytest.approx(sum(g.norm().item() for _, g in pairs), rel=1e-5)
    assert measure(make(), "snip", (X, Y)) == pytest.approx(sum((w * g).abs().sum().item() for w, g in pairs), rel=1e-5)
    assert measure(make(), "plain", (X, Y)) == pytest.approx(sum((w * g).sum().item() for w, g in pairs), abs=1e-5)
    assert measure(make(), "l2_norm", X) == pytest.approx(sum(w.norm().item() for w, _ in pairs), rel=1e-5)


def test_grasp_is_a_hessian_vector_product():
    _, weights, grads = gradients()
    product = torch.autograd.grad(grads, weights, [g.detach() for g in grads])
    by_hand = -sum((w * h).sum().item() for w, h in zip(weights, product, strict=True))
    assert measure(make(), "grasp", (X, Y)) == pytest.approx(by_hand, rel=1e-4, abs=1e-6)


def test_fisher_by_hand():
    net = make().eval()
    net[1].train()
    first = net[0](X)
    last = net[1:](first)
    loss = nn.functional.cross_entropy(last, Y)
    by_conv, by_linear = torch.autograd.grad(loss, [first, last])
    by_hand = (
        0.5 * (first * by_conv).sum((2, 3)).square().mean(0).sum() + 0.5 * (last * by_linear).square().mean(0).sum()
    )
    assert measure(make(), "fisher", (X, Y)) == pytest.approx(by_hand.item(), rel=1e-4)


def test_synflow_of_a_chain_is_the_number_of_layers_times_its_flow():
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    flow = torch.ones(1, 3) @ net[0].weight.abs().T @ net[2].weight.abs().T
    x = torch.randn(2, 3)
    assert measure(net, "synflow", x) == pytest.approx(np.log10(2 * flow.sum().item()), rel=1e-5)
    nn.init.zeros_(net[0].weight)
    assert measure(net, "synflow", x) == pytest.approx(-30)


def test_codes_of_modules_and_functions_are_alike():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = make()

        def forward(self, x):
            x = self.net[1](self.net[0](x))
            return self.net[3:](torch.relu_(x) if x.mean() > 1e9 else nn.functional.relu(x))

    for proxy in ("naswot", "swap"):
        assert measure(make(), proxy, X) == measure(Functional(), proxy, X)


def test_naswot_and_swap_by_hand():
    net = make().eval()
    net[1].train()
    on = (net[1](net[0](X)) > 0).flatten(1).double()
    kernel = on @ on.T + (1 - on) @ (1 - on).T
    assert measure(make(), "naswot", X) == pytest.approx(torch.linalg.slogdet(kernel).logabsdet.item())
    assert measure(make(), "swap", X) == len(on.T.unique(dim=0))
    assert measure(make(), "naswot", torch.cat([X, X])) == -np.inf


def test_more_inputs_than_a_word_have_patterns():
    x = torch.randn(70, 3, 8, 8)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    on = (net[0](x) > 0).flatten(1)
    assert measure(net, "swap", x) == len(on.T.unique(dim=0))


def test_ntk_of_a_linear_layer_is_the_condition_of_its_inputs():
    x = torch.randn(4, 6)
    net = nn.Linear(6, 1, bias=False)
    values = torch.linalg.eigvalsh((x @ x.T).double())
    assert measure(net, "ntk", x) == pytest.approx(-np.log10((values[-1] / values[0]).item()), rel=1e-4)


def test_jacob_cov_of_a_linear_net_is_that_of_equal_rows():
    # All rows of the Jacobian are equal: one eigenvalue is N, the others 0.
    n, k = len(X), 1e-5
    by_hand = -(np.log(n + k) + 1 / (n + k) + (n - 1) * (np.log(k) + 1 / k))
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    assert measure(net, "jacob_cov", X) == pytest.approx(by_hand, rel=1e-2)


def test_zico_by_hand():
    net = nn.Linear(4, 2, bias=False)
    x, y = torch.randn(8, 4), torch.arange(8) % 2
    sizes = []
    for part in (slice(0, 4), slice(4, 8)):
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(net(x[part]), y[part]), net.weight)
        sizes.append(gradient.abs().double())
    stacked = torch.stack(sizes)
    by_hand = (stacked.mean(0) / stacked.std(0, unbiased=False)).sum().log().item()
    assert measure(net, "zico", (x, y)) == pytest.approx(by_hand, rel=1e-5)


def test_zen_puts_back_what_a_batch_norm_takes_away():
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    normed = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    x = torch.randn(64, 3, 12, 12)
    assert measure(normed, "zen", x) == pytest.approx(measure(plain, "zen", x), abs=0.1)


def test_costs_agree_with_the_supernet():
    net = mn.rewrite(make(), [mn.rules.kernel_size(3, 5)], example=X[:1])
    trials = mn.evaluate.candidates(net.space.samples(3, seed=0))
    for trial, found in zip(
        trials, mn.evaluate.ZeroCost(net, ["params", "macs"], batch=X).evaluate(trials), strict=True
    ):
        exact = net.cost(trial.point)
        assert found == {"params": exact["params"], "macs": exact["macs"]}


def test_a_function_builds_and_fresh_weights_are_those_of_a_seed():
    evaluator = mn.evaluate.ZeroCost(lambda point: make(), "l2_norm", batch=X, seed=5)
    kept = mn.evaluate.ZeroCost(lambda point: make(), "l2_norm", batch=X, fresh=False)
    trial = mn.evaluate.candidates([{}])
    assert evaluator.evaluate(trial) == evaluator.evaluate(trial) != kept.evaluate(trial)
    assert kept.evaluate(trial)[0]["l2_norm"] == measure(make(), "l2_norm", X)


def test_what_is_undefined_fails_the_trial():
    evaluator = mn.evaluate.ZeroCost(lambda point: make(), "naswot", batch=torch.cat([X, X]))
    (outcome,) = evaluator.evaluate(mn.evaluate.candidates([{}]))
    assert outcome == mn.Failed("trial 0: the proxy returned -inf for 'naswot'; expected a finite number")


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: measure(make(), "synflo", X), "there is no zero-cost proxy 'synflo'; did you mean 'synflow'"),
        (lambda: measure(make(), "snip", X), "this proxy needs targets; give batch=(x, y)"),
        (lambda: measure(make(), "epe_nas", (X, Y.float())), "epe_nas needs the class of every input"),
        (lambda: measure(nn.Flatten(), "naswot", X), "this proxy looks at activations, and the network runs none"),
        (lambda: measure(nn.Flatten(), "synflow", X), "this proxy looks at weights, and the network has none to train"),
        (lambda: measure(make(), "zico", (X[:3], Y[:3])), "zico cuts the batch into halves of two inputs or more"),
        (lambda: measure(make(), "params", [[1], 2]), "the batch holds a list; expected inputs as one tensor"),
        (lambda: mn.evaluate.zero_cost.register("snip"), "there is already a zero-cost proxy 'snip'"),
        (lambda: mn.evaluate.ZeroCost(make(), "snip", X), "ZeroCost is given a Sequential; expected a supernet"),
    ],
)
def test_wrong_use(act, text):
    with pytest.raises(mn.EvaluationError) as found:
        act()
    assert str(found.value).startswith(text)


def test_rank_and_vote():
    space = mn.SearchSpace({"a": mn.integer(0, 9), "b": mn.integer(0, 9)})
    each = mn.evaluate.Function(lambda p: {"a": p["a"], "b": p["b"], "c": -p["b"]})
    best = mn.evaluate.candidates([space.point({"a": 9, "b": 9}), space.point({"a": 0, "b": 0})])
    ranked = mn.evaluate.Ensemble(each, ["a", "b"], space).evaluate(best)
    assert ranked[0]["score"] > 0.85 > 0.15 > ranked[1]["score"]
    voted = mn.evaluate.Ensemble(each, ["a", "b", "-c"], space, how="vote", metric="vote").evaluate(best)
    assert voted[0]["vote"] > 0.85 > 0.15 > voted[1]["vote"]
    with pytest.raises(mn.EvaluationError, match="trial 0 has no metric 'd'; it has a, b, c"):
        mn.evaluate.Ensemble(each, ["d"], space).evaluate(best)


@pytest.mark.slow
def test_synflow_ranks_nasbench201_as_the_stored_scores(data):
    table = np.load(data / "nasbench201.npz")
    bench = mn.benchmarks.NASBench201(data / "nasbench201.npz")
    evaluator = mn.evaluate.ZeroCost(mn.spaces.create("nasbench201")[0], "synflow", batch=torch.zeros(1, 3, 32, 32))
    rows = np.random.default_rng(1).choice(15625, 24, replace=False)
    edges = [decision.name for decision in bench.space.decisions]
    points = [
        bench.space.point(dict(zip(edges, (str(table["op_names"][op]) for op in table["ops"][row]), strict=True)))
        for row in rows
    ]
    ours = [values["synflow"] for values in evaluator.evaluate(mn.evaluate.candidates(points))]
    assert mn.evaluate.rank_report(ours, table["synflow_log10"][rows, 0], resamples=1).spearman > 0.95
