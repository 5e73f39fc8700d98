"""Gradient-based search: every gradient against one derived by hand or by autograd of the unrolled objective."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

import modularnas as mn
from modularnas.nn.relax import Linear
from modularnas.search import gradient

METHODS = ["DARTS", "DirectGradient", "DrNAS", "FairDARTS", "GDAS", "PCDARTS", "PDARTS", "ProxylessNAS", "ProxylessR"]
METHODS += ["SDARTS", "SNAS", "StacNAS"]
X = torch.randn(6, 4, 6, 6, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def net():
    return nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        mn.Slot(4, 4),
        nn.Tanh(),
        mn.Slot(4, 4),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def supernet(candidates=("conv_1x1", "sep_conv_3x3", "identity", "avg_pool_3x3"), double=True):
    torch.manual_seed(0)
    made = mn.rewrite(net(), [mn.rules.slots(list(candidates))], example=X)
    return made.double() if double else made


def loss_fn(model, batch):
    x, y = batch
    return functional.cross_entropy(model(x.to(next(model.parameters()).dtype)), y)


TRAIN, VALID = (X, Y), (X.flip(0) * 1.5, Y)


def weights_of(made):
    return [p for n, p in made.named_parameters() if not n.startswith(("alpha", "edge_alpha"))]


def everything(made, optimizer):
    state = {f"net.{k}": v.clone() for k, v in made.state_dict().items() if isinstance(v, torch.Tensor)}
    state.update({f"grad.{n}": None if p.grad is None else p.grad.clone() for n, p in made.model.named_parameters()})
    for i, p in enumerate(weights_of(made)):
        state.update({f"optimizer.{i}.{k}": v.clone() for k, v in optimizer.state[p].items() if v is not None})
    return state


def make(name, made, **settings):
    return getattr(mn.search, name)(made, **settings)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("unrolled", [False, True])
def test_backward_fills_alpha_grad_and_nothing_else(name, unrolled):
    if unrolled and name not in ("DARTS", "SDARTS"):
        pytest.skip("has no second order")
    made = supernet().train()
    search = make(name, made, **({"unrolled": True} if unrolled else {}))
    optimizer = torch.optim.SGD(weights_of(made), 0.1, momentum=0.9, weight_decay=1e-3)
    loss_fn(made, TRAIN).backward()
    optimizer.step()
    before, rng = everything(made, optimizer), torch.get_rng_state()
    before["net._extra_state"] = None
    loss = search.backward(loss_fn, TRAIN, VALID, optimizer)
    after = everything(made, optimizer)
    after["net._extra_state"] = None
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert (value is None and after[key] is None) or torch.equal(value, after[key]), key
    assert torch.equal(rng, torch.get_rng_state())
    assert torch.isfinite(loss)
    assert not loss.requires_grad
    assert any(alpha.grad.abs().sum() > 0 for alpha in made.alpha.values())


@pytest.mark.parametrize("name", METHODS)
def test_a_step_moves_alpha_alone_and_a_point_comes_out(name):
    made = supernet(double=False).train()
    search = make(name, made)
    optimizer = torch.optim.SGD(weights_of(made), 0.1)
    weights, alphas = [w.clone() for w in weights_of(made)], [a.clone() for a in made.alpha.values()]
    for _ in range(3):
        search.step(loss_fn, TRAIN, VALID, weights_optimizer=optimizer)
    assert all(torch.equal(w, now) for w, now in zip(weights, weights_of(made), strict=True))
    assert any(not torch.equal(a, now) for a, now in zip(alphas, made.alpha.values(), strict=True))
    point = search.point()
    made.eval().activate(point)
    torch.testing.assert_close(made(X), mn.derive(made, point).eval()(X))
    search.step(loss_fn, TRAIN, VALID, weights_optimizer=optimizer)  # comes back from the activated point
    assert made.relaxed is not None


def functional_loss(made, weights, alphas, batch):
    """The loss as a function of given weights and parameters, through torch's functional call."""
    names = [n for n, _ in made.named_parameters()]
    values = dict(zip([n for n in names if not n.startswith(("alpha", "edge"))], weights, strict=True))
    values.update(zip([n for n in names if n.startswith("alpha")], alphas, strict=True))
    buffers = {n: b.clone() for n, b in made.named_buffers()}

    class Call(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = [made]

        def forward(self, x):
            return torch.func.functional_call(made, {**values, **buffers}, (x.double(),))

        def parameters(self, recurse=True):
            return iter(weights)

    return loss_fn(Call(), batch)


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0.5},
        {"lr": 0.5, "momentum": 0.9, "weight_decay": 0.01},
        {"lr": 0.5, "momentum": 0.9, "nesterov": True},
        {"lr": 0.5, "momentum": 0.8, "dampening": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize("hessian", ["exact", "finite_difference"])
def test_second_order_is_the_gradient_of_the_unrolled_objective(settings, hessian):
    """One step of torch's own SGD is differentiated in float64, momentum from earlier steps included.

    A difference across the kink of a ReLU is no derivative, and in so small a network one kink shows: so the finite
    difference is of smooth candidates.
    """
    candidates = ["conv_1x1", "identity", "avg_pool_3x3", "sep_conv_3x3" if hessian == "exact" else "conv_3x3"]
    made = supernet(candidates).train()
    search = mn.search.DARTS(made, unrolled=True, hessian=hessian)
    optimizer = torch.optim.SGD(weights_of(made), **settings)
    for _ in range(2):
        optimizer.zero_grad()
        loss_fn(made, TRAIN).backward()
        optimizer.step()
    weights = [w.detach().clone().requires_grad_() for w in weights_of(made)]
    alphas = [a.detach().clone().requires_grad_() for a in made.alpha.values()]
    gradients = torch.autograd.grad(functional_loss(made, weights, alphas, TRAIN), weights, create_graph=True)
    group, stepped = optimizer.param_groups[0], []
    for w, g, p in zip(weights, gradients, weights_of(made), strict=True):
        direction = g + group["weight_decay"] * w
        buffer = optimizer.state[p].get("momentum_buffer")
        if buffer is not None:
            moved = group["momentum"] * buffer + (1 - group["dampening"]) * direction
            direction = direction + group["momentum"] * moved if group["nesterov"] else moved
        stepped.append(w - group["lr"] * direction)
    expected = torch.autograd.grad(functional_loss(made, stepped, alphas, VALID), alphas)
    first_order = torch.autograd.grad(functional_loss(made, [w.detach() for w in stepped], alphas, VALID), alphas)
    search.backward(loss_fn, TRAIN, VALID, weights_optimizer=optimizer)
    found = [a.grad for a in made.alpha.values()]
    tolerance = {"rtol": 1e-8, "atol": 1e-10} if hessian == "exact" else {"rtol": 1e-3, "atol": 1e-7}
    torch.testing.assert_close(found, list(expected), **tolerance)
    assert max((e - f).abs().max() for e, f in zip(expected, first_order, strict=True)) > 1e-4  # the term matters


class Scale(nn.Module):
    """Multiplies by one weight; two of them in a mixed op make a quadratic bi-level problem."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * self.weight


def scale(slot):
    return Scale()


def shift(slot):
    return nn.Identity()


def test_second_order_reaches_the_analytic_hypergradient():
    """Quadratic truth: y = (p_1 w + p_2) x, losses (y - t)^2, so w' and its derivative by alpha are closed forms."""
    made = mn.rewrite(nn.Sequential(mn.Slot(1, 1)), [mn.rules.slots([scale, shift])], example=torch.ones(1, 1, 1, 1))
    made = made.double()
    search = mn.search.DARTS(made, unrolled=True)
    w, lr, t, v = 0.7, 0.1, 2.0, -1.0
    made.model[0].candidates[0].weight.data.fill_(w)
    alpha = made.alpha["0.op"]
    alpha.data.copy_(torch.tensor([0.4, -0.2]))
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    optimizer = torch.optim.SGD(weights_of(made), lr)

    def square(model, target):
        return (model(one) - target).square().sum()

    search.backward(square, t, v, weights_optimizer=optimizer)
    p = torch.softmax(alpha.detach(), -1)[0].item()  # the other has 1 - p
    moved = w - lr * 2 * (p * w + 1 - p - t) * p
    of_moved = -lr * 2 * ((w - 1) * p + (p * w + 1 - p - t))  # dw'/dp
    residual = p * moved + 1 - p - v
    by_p = 2 * residual * (moved - 1 + p * of_moved)
    expected = by_p * p * (1 - p)
    torch.testing.assert_close(alpha.grad, torch.tensor([expected, -expected], dtype=torch.float64), rtol=1e-6, atol=0)


def test_search_finds_the_candidate_that_generalises():
    """Weights fit the training target with either candidate; only one is right for the validation target."""
    made = mn.rewrite(nn.Sequential(mn.Slot(1, 1)), [mn.rules.slots([scale, shift])], example=torch.ones(1, 1, 1, 1))
    one = torch.ones(1, 1, 1, 1)

    def square(model, target):
        return (model(one) - target).square().sum()

    for valid, best in ((3.0, "scale"), (1.0, "shift")):
        made.alpha.clear()
        made.model[0].candidates[0].weight.data.fill_(3.0)
        search = mn.search.DARTS(made, optimizer=None)
        search.optimizer = torch.optim.Adam(search.alphas, 0.1)
        for _ in range(60):
            search.step(square, 3.0, valid)
        assert search.point()["0.op"] == best


def of_validation(made, batch=VALID):
    loss = loss_fn(made, batch)
    return torch.autograd.grad(loss, list(made.alpha.values()))


@pytest.mark.parametrize(
    ("name", "settings", "batch"),
    [
        ("DARTS", {}, VALID),
        ("DirectGradient", {}, TRAIN),
        ("DirectGradient", {"bilevel": True}, VALID),
        ("SNAS", {}, TRAIN),
        ("SNAS", {"bilevel": True, "temperature": 0.5}, VALID),
        ("GDAS", {"temperature": 2.0}, VALID),
        ("PCDARTS", {}, VALID),
        ("DrNAS", {}, VALID),
        ("PDARTS", {}, VALID),
        ("StacNAS", {}, TRAIN),
        ("SDARTS", {}, VALID),
    ],
)
def test_first_order_gradients_are_those_of_their_loss(name, settings, batch):
    made = supernet().eval()  # no noise of batch norms; draws are those of the modes
    search = make(name, made, **settings)
    search.backward(loss_fn, TRAIN, VALID)
    expected = of_validation(made, batch)
    torch.testing.assert_close([a.grad for a in made.alpha.values()], list(expected))
    made.train()
    step = made.relaxed.step
    search.backward(loss_fn, TRAIN, VALID)
    made.relaxed.step = step  # the same draws again
    torch.testing.assert_close([a.grad for a in made.alpha.values()], list(of_validation(made, batch)))


def test_gdas_is_the_product_of_gradient_and_output_of_the_drawn_candidate():
    made = supernet().train()
    search = mn.search.GDAS(made, temperature=3.0)
    search.backward(loss_fn, TRAIN, VALID)
    seen = {}
    made.relaxed.step = 0
    mixed = made.model[3]
    mixed.register_forward_hook(lambda module, args, out: seen.update(x=args[0].detach(), out=out))
    loss = loss_fn(made, VALID)
    (of_output,) = torch.autograd.grad(loss, seen["out"])
    (code,) = mixed.paths.codes
    soft = torch.softmax(made.alpha["3.op"].detach(), -1)  # of the mode; below of the draw itself
    assert soft.shape == (4,)
    weights = mixed.paths.weights.detach()
    assert weights[code] == 1
    made.relaxed.step = 0
    made(VALID[0].double())
    (row,) = torch.autograd.grad(mixed.paths.weights[code], made.alpha["3.op"])
    inner = (of_output * mixed.candidates[code](seen["x"])).sum().detach()
    torch.testing.assert_close(made.alpha["3.op"].grad, inner * row)


def test_proxylessnas_is_equation_four():
    made = supernet().train()
    search = mn.search.ProxylessNAS(made)
    search.backward(loss_fn, TRAIN, VALID)
    found = made.alpha["3.op"].grad.clone()
    made.relaxed.step, made.relaxed.relaxation.paths = 0, 2
    seen = {}
    mixed = made.model[3]
    mixed.register_forward_hook(lambda module, args, out: seen.update(x=args[0].detach(), out=out))
    loss = loss_fn(made, VALID)
    (of_output,) = torch.autograd.grad(loss, seen["out"])
    pair = [*mixed.paths.codes, *mixed.paths.watched]
    p = torch.softmax(made.alpha["3.op"].detach()[pair], -1)
    outputs = [(of_output * mixed.candidates[code](seen["x"])).sum().detach() for code in pair]
    expected = torch.zeros(4, dtype=torch.float64)
    for i, code in enumerate(pair):
        expected[code] = sum(outputs[j] * p[j] * (float(i == j) - p[i]) for j in range(2))
    torch.testing.assert_close(found, expected)


def test_proxylessnas_trains_weights_on_one_path_and_keeps_other_probabilities():
    made = supernet().train()
    search = mn.search.ProxylessNAS(made)
    made(X.double())
    assert made.model[3].paths.weights is None
    before = {name: torch.softmax(a.detach(), -1) for name, a in made.alpha.items()}
    for _ in range(4):
        alphas = {name: a.detach().clone() for name, a in made.alpha.items()}
        search.step(loss_fn, TRAIN, VALID)
        for name, alpha in made.alpha.items():
            moved = alpha != alphas[name]
            now = torch.softmax(alpha.detach(), -1)
            assert moved.sum() <= 2
            torch.testing.assert_close(now[~moved], before[name][~moved])
            before[name] = now


def test_reinforce_is_unbiased():
    """Its mean over many paths is the gradient of the expected loss, which two decisions with two choices list."""
    made = supernet(["conv_1x1", "avg_pool_3x3"]).eval()
    with torch.no_grad():
        search = mn.search.ProxylessR(made, samples=1500)
        for alpha in made.alpha.values():
            alpha.copy_(torch.randn(2) * 0.5)
    alphas = list(made.alpha.values())
    total = 0
    losses = {}
    weights = made.relaxed.probabilities()
    for rank in range(4):
        point = made.space.unrank(rank)
        p = torch.stack([weights[n][made.space[n].choices.index(c)] for n, c in point.items()]).prod()
        losses[rank] = loss_fn(mn.derive(made, point).eval(), VALID).item()
        total = total + p * losses[rank]
    expected = torch.autograd.grad(total, alphas)
    for module in made.modules():
        module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)  # paths are drawn
    search.baseline = sum(losses.values()) / -4
    search.backward(loss_fn, TRAIN, VALID)
    spread = max(losses.values()) - min(losses.values())
    torch.testing.assert_close([a.grad for a in alphas], list(expected), rtol=0, atol=0.06 * spread)
    assert search.baseline == pytest.approx(-total.item(), abs=0.1 * spread)


def test_rewards_may_be_anything():
    made = supernet().train()
    search = mn.search.ProxylessR(made, reward=lambda loss, point: float(point["3.op"] == "identity"))
    search.optimizer = torch.optim.Adam(search.alphas, 0.1)
    for _ in range(30):
        search.step(loss_fn, TRAIN, VALID)
    assert search.point()["3.op"] == "identity"


def test_fairdarts_pushes_gates_to_the_ends():
    made = supernet().eval()
    search = mn.search.FairDARTS(made)
    search.backward(loss_fn, TRAIN, VALID)
    alphas = list(made.alpha.values())
    gates = torch.cat([torch.sigmoid(a) for a in alphas])
    expected = torch.autograd.grad(loss_fn(made, VALID) - 10 * (gates - 0.5).square().mean(), alphas)
    torch.testing.assert_close([a.grad for a in alphas], list(expected))
    made = supernet(["conv_1x1", "none"])
    search = mn.search.FairDARTS(made, threshold=0.85)
    with torch.no_grad():
        made.alpha["3.op"].copy_(torch.tensor([1.0, 0.0]))
        made.alpha["5.op"].copy_(torch.tensor([3.0, 0.0]))
    assert dict(search.point()) == {"3.op": "none", "5.op": "conv_1x1"}


def test_drnas_anchors_the_distribution():
    made = supernet().eval()
    search = mn.search.DrNAS(made, anchor="kl", anchor_weight=0.5)
    assert search.optimizer.param_groups[0]["weight_decay"] == 0
    with torch.no_grad():
        for alpha in made.alpha.values():
            alpha.copy_(torch.randn(4))
    search.backward(loss_fn, TRAIN, VALID)
    alphas = list(made.alpha.values())
    divergence = 0
    for alpha in alphas:
        b, one = functional.elu(alpha) + 1, torch.ones(4, dtype=torch.float64)
        log_ratio = torch.lgamma(b.sum()) - torch.lgamma(b).sum() - torch.lgamma(one.sum())
        divergence = divergence + log_ratio + ((b - 1) * (torch.digamma(b) - torch.digamma(b.sum()))).sum()
    expected = torch.autograd.grad(loss_fn(made, VALID) + 0.5 * divergence, alphas)
    torch.testing.assert_close([a.grad for a in alphas], list(expected))
    assert mn.search.DrNAS(supernet()).optimizer.param_groups[0]["weight_decay"] == 1e-3


@pytest.mark.parametrize("perturbation", ["random", "adversarial"])
def test_sdarts_perturbs_the_training_of_weights_within_a_ball(perturbation):
    made = supernet().eval()
    search = mn.search.SDARTS(made, perturbation=perturbation, radius=0.2)
    search.step(loss_fn, TRAIN, VALID)
    shift = made.relaxed.shift
    assert set(shift) == set(made.alpha)
    weights = made.relaxed.probabilities()
    for name, value in shift.items():
        assert 0 < value.abs().max() <= 0.2 + 1e-12
        total = weights[name].detach() + value
        assert (total >= -1e-12).all()
        assert (total <= 1 + 1e-12).all()
    perturbed = loss_fn(made, TRAIN)
    shift.clear()
    if perturbation == "adversarial":
        assert perturbed > loss_fn(made, TRAIN)
    search.perturb(loss_fn, TRAIN)
    search.backward(loss_fn, TRAIN, VALID)  # unperturbed
    torch.testing.assert_close([a.grad for a in made.alpha.values()], list(of_validation(made)))


def test_pdarts_narrows_and_grows():
    made = supernet(["conv_1x1", "conv_3x3", "identity", "avg_pool_3x3"])
    search = mn.search.PDARTS(made, keep=(3, 2), skip_drop=(0.0, 0.4), decay=0.1, max_skips=1)
    with torch.no_grad():
        made.alpha["3.op"].copy_(torch.tensor([0.0, 3.0, 2.0, 1.0]))
        made.alpha["5.op"].copy_(torch.tensor([3.0, 2.0, 1.0, 0.0]))
    assert made.relaxed.drop["identity"] == 0
    deeper = supernet(["conv_1x1", "conv_3x3", "identity", "avg_pool_3x3"])
    search.advance(deeper)
    assert search.supernet is deeper
    assert list(deeper.relaxed.labelled()["3.op"]) == ["conv_3x3", "identity", "avg_pool_3x3"]
    assert deeper.relaxed.drop["identity"] == 0.4
    assert all(alpha.abs().max() < 0.01 for alpha in deeper.alpha.values())
    search.step(loss_fn, TRAIN, VALID)
    search.step(loss_fn, TRAIN, VALID)
    assert deeper.relaxed.drop["identity"] == pytest.approx(0.4 * 2.718281828**-0.1)
    with torch.no_grad():
        deeper.alpha["3.op"].copy_(torch.tensor([0.0, 0.0, 5.0, 1.0]))
        deeper.alpha["5.op"].copy_(torch.tensor([0.0, 1.0, 6.0, 0.0]))
    assert dict(search.point()) == {"3.op": "avg_pool_3x3", "5.op": "identity"}
    assert len(deeper.relaxed.candidates["3.op"]) == 3
    search.advance()
    with pytest.raises(mn.SearchError, match="has 3 stages and is in the last"):
        search.advance()


def test_stacnas_compares_groups_and_then_members():
    made = supernet(["sep_conv_3x3", "sep_conv_5x5", "identity", "max_pool_3x3", "avg_pool_3x3"])
    search = mn.search.StacNAS(made)
    assert list(made.relaxed.labelled()["3.op"]) == ["sep_conv_3x3", "identity", "max_pool_3x3"]
    with torch.no_grad():
        made.alpha["3.op"].copy_(torch.tensor([1.0, 9.0, 0.0, 0.0, 0.0]))
        made.alpha["5.op"].copy_(torch.tensor([0.0, 0.0, 0.0, 1.0, 9.0]))
    search.advance()
    assert list(made.relaxed.labelled()["3.op"]) == ["sep_conv_3x3", "sep_conv_5x5"]
    assert list(made.relaxed.labelled()["5.op"]) == ["max_pool_3x3", "avg_pool_3x3"]
    search.step(loss_fn, TRAIN, VALID)
    with pytest.raises(mn.SearchError, match="has two stages and is in the second"):
        search.advance()


def test_temperatures_follow_their_schedule_and_warm_up_rests():
    made = supernet(double=False)
    search = mn.search.GDAS(made, temperature=Linear(10, 1, steps=9), warmup_steps=2)
    before = [a.clone() for a in made.alpha.values()]
    seen = []
    for i in range(4):
        loss = search.step(loss_fn, TRAIN, VALID)
        seen.append(made.relaxed.relaxation.temperature)
        assert (loss is None) == (i < 2)
        if i == 1:
            assert all(torch.equal(a, b) for a, b in zip(before, made.alpha.values(), strict=True))
    assert seen == [10, 9, 8, 7]


def test_a_search_goes_on_from_its_state():
    def fresh():
        made = supernet(double=False).train()
        return made, mn.search.GDAS(made, steps=10), torch.optim.SGD(weights_of(made), 0.1)

    def run(made, search, optimizer, n):
        for _ in range(n):
            search.step(loss_fn, TRAIN, VALID, weights_optimizer=optimizer)
            optimizer.zero_grad()
            loss_fn(made, TRAIN).backward()
            optimizer.step()

    whole = fresh()
    run(*whole, 4)
    first = fresh()
    run(*first, 2)
    states = [copy.deepcopy(part.state_dict()) for part in first]
    second = fresh()
    for part, state in zip(second, states, strict=True):
        part.load_state_dict(state)
    run(*second, 2)
    for a, b in zip(whole[0].alpha.values(), second[0].alpha.values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (mn.search.Add("macs", weight=0.3, target=2e4), lambda loss, m: loss + 0.3 * (m / 2e4 - 1)),
        (mn.search.Mult("macs", exponent=0.6, target=2e4), lambda loss, m: loss * (m / 2e4) ** 0.6),
        (
            mn.search.MultLog("macs", scale=2.0, target=2e4),
            lambda loss, m: 2 * loss * (m.log() / torch.tensor(2e4).log()) ** 0.6,
        ),
    ],
    ids=["Add", "Mult", "MultLog"],
)
def test_costs_join_the_loss(loss, formula):
    made = supernet().eval()
    search = mn.search.DARTS(made, cost=loss)
    search.backward(loss_fn, TRAIN, VALID)
    alphas = list(made.alpha.values())
    expected = torch.autograd.grad(formula(loss_fn(made, VALID), made.relaxed.expected_cost("macs")), alphas)
    torch.testing.assert_close([a.grad for a in alphas], list(expected))


def test_a_cost_term_leads_to_cheap_architectures():
    found = {}
    for weight in (0.0, 20.0):
        made = supernet(double=False)
        search = mn.search.DARTS(made, cost=mn.search.Add("macs", weight=weight, target=2e4))
        search.optimizer = torch.optim.Adam(search.alphas, 0.05)
        for _ in range(25):
            search.step(loss_fn, TRAIN, VALID)
        found[weight] = made.cost(search.point())["macs"]
    assert found[20.0] == made.space.bounds("macs")[0]
    assert found[20.0] < found[0.0]


def test_moving_targets_follow_the_cost():
    loss = mn.search.Add("macs", weight=1.0, decay=0.5)
    one = torch.tensor(1.0)
    assert float(loss(one, torch.tensor(4.0))) == 1.0  # the first cost is the target
    assert float(loss(one, torch.tensor(8.0))) == pytest.approx(1 + 8 / 6 - 1)
    assert float(loss(one, torch.tensor(6.0))) == pytest.approx(1.0)


def test_the_dominant_eigenvalue_is_the_hessians():
    made = supernet().eval()
    search = mn.search.DARTS(made)
    with torch.no_grad():
        for alpha in made.alpha.values():
            alpha.copy_(torch.randn(4))
    weights = weights_of(made)

    def of_alphas(*alphas):
        return functional_loss(made, weights, alphas, VALID)

    blocks = torch.autograd.functional.hessian(of_alphas, tuple(a.detach() for a in made.alpha.values()))
    values = torch.linalg.eigvalsh(torch.cat([torch.cat(row, 1) for row in blocks]))
    expected = values[values.abs().argmax()].item()
    found = gradient.dominant_eigenvalue(search, loss_fn, VALID, iterations=300)
    assert found == pytest.approx(expected, rel=0.02)


def test_the_guard_sees_skips_and_rising_curvature(monkeypatch):
    made = supernet(["conv_1x1", "identity"])
    search = mn.search.DARTS(made)
    guard = mn.search.CollapseGuard(search, max_skips=1, window=2)
    values = iter([1.0, 1.0, 1.1, 1.0, 2.0, 3.0])
    monkeypatch.setattr(gradient.collapse, "dominant_eigenvalue", lambda *_: next(values))
    with torch.no_grad():
        made.alpha["3.op"].copy_(torch.tensor([1.0, 0.0]))
        made.alpha["5.op"].copy_(torch.tensor([1.0, 0.0]))
    reasons = [guard(loss_fn, VALID) for _ in range(5)]
    assert reasons[:4] == [None] * 4
    assert reasons[4] == "the largest eigenvalue rose from 1.05 to 1.5 within 2 checks"
    assert guard.safe_point == search.point()
    with torch.no_grad():
        for alpha in made.alpha.values():
            alpha.copy_(torch.tensor([0.0, 1.0]))
    assert guard(loss_fn, VALID) == "2 skip connections, more than 1"
    assert guard.safe_point["3.op"] == "conv_1x1"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: mn.search.DARTS(nn.Linear(2, 2)), "DARTS is given a Linear; expected a supernet from mn.rewrite"),
        (lambda: mn.search.DARTS(supernet(), hessian="no"), "hessian is 'no'; expected 'finite_difference' or 'exact'"),
        (
            lambda: mn.search.DARTS(supernet(), unrolled=True).backward(loss_fn, TRAIN, VALID),
            r"DARTS\(unrolled=True\) looks one step ahead; give weights_optimizer=",
        ),
        (lambda: mn.search.PDARTS(supernet(), keep=(0,)), "keep is .0,.; expected 1 or more"),
        (lambda: mn.search.SDARTS(supernet(), perturbation="x"), "perturbation is 'x'; expected 'random' or"),
        (lambda: mn.search.DrNAS(supernet(), anchor="x"), "anchor is 'x'; expected 'l2' or 'kl'"),
        (lambda: mn.search.ProxylessR(supernet(), samples=0), "samples is 0; expected 1 or more"),
        (lambda: mn.search.Add("macs", target=-1), "the target of 'macs' is -1; expected more than 0"),
    ],
)
def test_errors_say_what_is_wrong(make, text):
    with pytest.raises(mn.SearchError, match=text):
        make()
