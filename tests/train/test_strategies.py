"""Strategies: which paths a step trains, and that gradients are those of the paths."""

import collections
import copy

import pytest
import torch
from torch import nn

import modularnas as mn

X, Y = torch.randn(6, 3, 10, 10), torch.randint(0, 5, (6,))
RULES = [mn.rules.kernel_size(3, 5), mn.rules.width(0.5, 0.75, 1.0)]


def net():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def rewritten(**settings):
    return mn.rewrite(net(), RULES, example=X, **settings)


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def stages(steps=2):
    return mn.train.shrinking_stages(steps)


def strategies():
    return {
        "single path": mn.train.SinglePath(),
        "fair": mn.train.FairNAS(),
        "sandwich": mn.train.Sandwich(n_random=2),
        "attentive": mn.train.Attentive(k=2),
        "progressive": mn.train.ProgressiveShrinking(stages()),
        "warm-up": mn.train.WarmUp(mn.train.FairNAS(), steps=2),
        "weights only": mn.train.WeightsOnly(),
    }


@pytest.mark.parametrize("mode", ["sliced", "masked"])
@pytest.mark.parametrize("name", strategies())
def test_every_strategy_trains(name, mode):
    """The loss on the whole network goes down, also in masks; the same seed gives the same run."""
    runs = []
    for _ in range(2):
        supernet, strategy = rewritten(mode=mode), strategies()[name]
        optimizer = torch.optim.SGD(supernet.parameters(), 0.05)
        before = loss_fn(supernet.activate(supernet.space.extremes("macs")[1]), (X, Y)).item()
        losses = []
        for _ in range(14):
            optimizer.zero_grad()
            losses.append(strategy.step(supernet, loss_fn, (X, Y)).item())
            optimizer.step()
        assert loss_fn(supernet.activate(supernet.space.extremes("macs")[1]), (X, Y)).item() < before
        assert strategy.n_steps == 14
        runs.append(losses)
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", strategies())
def test_a_resumed_strategy_goes_on(name):
    whole, cut, resumed = (strategies()[name] for _ in range(3))
    supernet = rewritten()
    for strategy, steps in ((whole, 9), (cut, 5)):
        for _ in range(steps):
            strategy.step(supernet, loss_fn, (X, Y))
    if name == "warm-up":
        resumed.step(supernet, loss_fn, (X, Y))
    resumed.load_state_dict(cut.state_dict())
    for strategy in (cut, resumed):
        point = None
        while strategy.n_steps < 9:
            strategy.step(supernet, loss_fn, (X, Y))
            point = supernet.active_point
        whole_point, whole.n_steps = point, 9
        assert whole_point == point


def test_single_paths_are_uniform():
    supernet = rewritten()
    space, strategy = supernet.space, mn.train.SinglePath()
    rows = [tuple(strategy.paths(space, 0, step)[0]) for step in range(3600)]
    counts = collections.Counter(rows)
    assert len(counts) == space.size == 36
    assert 60 < min(counts.values())
    assert max(counts.values()) < 145


def test_fair_paths_have_every_choice_once():
    supernet = rewritten()
    strategy = mn.train.FairNAS()
    assert strategy.n_paths(supernet.space) == 3
    for step in range(20):
        rows = strategy.paths(supernet.space, 0, step)
        for column, decision in zip(rows.T, supernet.space.decisions, strict=True):
            counts = collections.Counter(column.tolist())
            if len(decision.choices) == 3:
                assert sorted(column) == [0, 1, 2]
            else:
                assert sorted(counts.values()) == [1, 2]


def test_gradients_of_a_step_are_the_sum_over_its_paths():
    supernet, strategy = rewritten(), mn.train.FairNAS(seed=4)
    strategy.step(supernet, loss_fn, (X, Y))
    by_hand = rewritten()
    for row in mn.train.FairNAS().paths(by_hand.space, 4, 0):
        loss_fn(by_hand.activate(by_hand.space.point_at(row.tolist())), (X, Y)).backward()
    for a, b in zip(supernet.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_sandwich_has_its_slices():
    supernet, strategy = rewritten(), mn.train.Sandwich(n_random=3)
    rows = strategy.paths(supernet.space, 0, 0)
    costs = supernet.cost(rows)["macs"]
    low, high = supernet.space.bounds("macs")
    assert (len(rows), costs[0], costs[-1]) == (5, high, low)


def test_in_place_distillation_is_that_of_the_paper():
    """The largest network learns the labels, the others its probabilities, which are constants."""
    supernet, strategy = rewritten(), mn.train.Sandwich(n_random=1)
    strategy.step(supernet, loss_fn, (X, Y))
    by_hand = rewritten()
    rows = strategy.paths(by_hand.space, 0, 0).tolist()
    out = by_hand.activate(by_hand.space.point_at(rows[0]))(X)
    nn.functional.cross_entropy(out, Y).backward()
    target = out.detach().softmax(1)
    for row in rows[1:]:
        out = by_hand.activate(by_hand.space.point_at(row))(X)
        (-(target * out.log_softmax(1)).sum(1).mean()).backward()
    for a, b in zip(supernet.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_distillation_needs_the_outputs():
    with pytest.raises(mn.SpaceError, match="must call the net that it is given"):
        mn.train.Sandwich().step(rewritten(), lambda model, batch: model.model[0].weight.sum(), (X, Y))


@pytest.mark.parametrize(("prefer", "compare"), [("worst", min), ("best", max)])
def test_attentive_sampling_prefers(prefer, compare):
    supernet = rewritten()
    asked = []

    def score(rows):
        asked.append(rows)
        return rows.sum(1)

    strategy = mn.train.Attentive(prefer, score, k=6, n_random=2)
    chosen = strategy.middle(supernet.space, 0, 0)
    for row, candidates in zip(chosen, asked, strict=True):
        assert len(candidates) == 6
        assert row.sum() == compare(candidates.sum(1))
        costs = supernet.cost(candidates)["macs"]
        low, high = supernet.space.bounds("macs")
        assert costs.max() - costs.min() < 0.5 * (high - low)


def test_attentive_sampling_says_what_it_needs():
    with pytest.raises(mn.SpaceError, match="prefers 'good'; expected 'worst' or 'best'"):
        mn.train.Attentive("good")
    supernet = rewritten().train().sampling("attentive")
    with pytest.raises(mn.SpaceError, match="without a score needs the loss"):
        supernet(X), supernet(X)
    supernet.sampling("attentive", score=lambda rows: rows.sum(1))(X)


def test_stages_open_one_after_the_other():
    class Blocks(nn.Sequential):
        pass

    def block():
        return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())

    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Blocks(block(), block(), block()), nn.Conv2d(8, 5, 1))
    supernet = mn.rewrite(model, [*RULES, mn.rules.depth(where="1.*")], example=X)
    strategy = mn.train.ProgressiveShrinking(mn.train.shrinking_stages(30))
    seen = collections.defaultdict(lambda: collections.defaultdict(set))
    for step in range(180):
        for row in strategy.paths(supernet.space, 0, step):
            for name, value in supernet.space.point_at(row.tolist()).items():
                seen[strategy.stage(step)][name.rpartition(".")[2]].add(value)
    assert strategy.stage(10_000) == 5
    kernels, depths, widths = (
        [len(seen[stage][name]) for stage in range(6)] for name in ("kernel_size", "depth", "width")
    )
    assert kernels == [1, 2, 2, 2, 2, 2]
    assert depths == [1, 1, 2, 3, 3, 3]
    assert widths[:4] == [1, 1, 1, 1]
    assert widths[4:] == [2, 3] or widths[5] > widths[4]


def test_shrinking_sorts_channels_once_and_learns_from_the_largest():
    supernet = rewritten()
    one = mn.train.ShrinkingStage
    strategy = mn.train.ProgressiveShrinking([one(1), one(2, {"*kernel_size": None}), one(9, {"*": None}, 4, True)])
    strategy.step(supernet, loss_fn, (X, Y))
    assert strategy.teacher is None
    strategy.step(supernet, loss_fn, (X, Y))
    assert not any(type(m).__module__.startswith("modularnas") for m in strategy.teacher.modules())
    before = copy.deepcopy(supernet.state_dict())
    strategy.step(supernet, loss_fn, (X, Y))
    assert all(torch.equal(before[name], value) for name, value in supernet.state_dict().items())
    strategy.step(supernet, loss_fn, (X, Y))
    assert not all(torch.equal(before[name], value) for name, value in supernet.state_dict().items())
    after = copy.deepcopy(supernet.state_dict())
    strategy.step(supernet, loss_fn, (X, Y))
    assert all(torch.equal(after[name], value) for name, value in supernet.state_dict().items())


def test_weights_only_leaves_alpha_alone():
    supernet = rewritten()
    supernet.alpha = nn.ParameterDict({"a": nn.Parameter(torch.ones(2))})
    strategy = mn.train.WeightsOnly()
    strategy.step(supernet, lambda model, batch: loss_fn(model, batch) * model.alpha["a"].sum(), (X, Y))
    assert supernet.alpha["a"].grad is None
    assert supernet.alpha["a"].requires_grad
    assert supernet.model[6].weight.grad is not None


def test_alternating_calls_the_search_when_it_is_due():
    calls = []

    class Search:
        def step(self, loss_fn, train_batch, valid_batch, *, weights_optimizer):
            calls.append((train_batch, valid_batch, weights_optimizer))

    supernet = rewritten()
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1)
    strategy = mn.train.Alternating(Search(), optimizer, warm_up=3, every=2)
    train, valid = (X, Y), (X + 1, Y)
    for _ in range(8):
        strategy.step(supernet, loss_fn, (train, valid))
    assert len(calls) == 3
    assert calls[0] == (train, valid, optimizer)
    with pytest.raises(mn.SpaceError, match="needs two batches a step"):
        supernet.train().sampling(strategy)(X)


def test_what_is_no_supernet():
    with pytest.raises(mn.SpaceError, match="a Sequential is given to a training strategy"):
        mn.train.SinglePath().step(net(), loss_fn, (X, Y))
    with pytest.raises(mn.SpaceError, match="sampling is given 'often'; expected one of 'uniform', 'fair'"):
        rewritten().sampling("often")


def test_kernels_that_shrink_in_a_learned_way():
    """Nothing changes at first; trained, the law holds, in both modes, and derived networks have plain kernels."""
    for mode in ("sliced", "masked"):
        supernet = mn.rewrite(net(), [mn.rules.kernel_size(3, 5, 7), RULES[1]], example=X, mode=mode)
        before = [supernet.activate(p)(X) for p in supernet.space.samples(6, seed=0)]
        n = len(list(supernet.parameters()))
        assert supernet.learn_kernels() is supernet
        assert [tuple(p.shape) for p in list(supernet.parameters())[n:]] or len(list(supernet.parameters())) == n + 4
        for point, out in zip(supernet.space.samples(6, seed=0), before, strict=True):
            torch.testing.assert_close(supernet.activate(point)(X), out)
        strategy = mn.train.SinglePath()
        optimizer = torch.optim.SGD(supernet.parameters(), 0.5)
        for _ in range(8):
            optimizer.zero_grad()
            strategy.step(supernet, loss_fn, (X, Y))
            optimizer.step()
        matrix = dict(supernet.named_parameters())["model.0.kernel_transform_3"]
        assert not torch.equal(matrix, torch.eye(9))
        for point in supernet.space.samples(12, seed=1):
            small = mn.derive(supernet, point)
            torch.testing.assert_close(supernet.activate(point)(X), small(X), rtol=1e-4, atol=1e-5)
            assert sum(p.numel() for p in small.parameters()) == supernet.cost(point)["params"]
            assert not any("kernel_transform" in name for name in small.state_dict())
        clone = copy.deepcopy(supernet)
        clone.load_state_dict(supernet.state_dict())
        torch.testing.assert_close(clone(X), supernet(X))
