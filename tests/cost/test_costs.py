"""Costs attached to a space: values, exact bounds, counts and points within constraints."""

import copy
import itertools
import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import modularnas as mn


def tabled():
    """A space with a conditional decision, small enough to list, with a whole and a real cost."""
    space = mn.SearchSpace(
        {
            "op": mn.choice(["conv", "pool"]),
            "k": mn.choice([3, 5, 7], active_if=("op", ["conv"])),
            "n": mn.integer(1, 4),
        }
    )
    space = space.with_cost("ops", {"k": {3: 9, 5: 25, 7: 49}, ("op", "n"): [[1, 2, 3, 4], [0, 0, 0, 1]]}, constant=10)
    return space.with_cost("ms", {"op": {"pool": 0.25, "conv": 0.5}, "n": [0.1, 0.2, 0.3, 0.4]})


def points(space):
    return [space.unrank(i) for i in range(space.size)]


def ops(point):
    table = [[1, 2, 3, 4], [0, 0, 0, 1]][point["op"] == "pool"]
    return 10 + (point["k"] ** 2 if "k" in point else 0) + table[point["n"] - 1]


def raised(error, f):
    with pytest.raises(error) as found:
        f()
    return str(found.value)


def supernet(**sizes):
    net = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(6)), nn.AdaptiveAvgPool2d(1))
    rules = [mn.rules.kernel_size(3, 5, 7), mn.rules.replace(nn.Conv2d, ["original", "identity"], where="[23]")]
    return mn.rewrite(net, rules, example=torch.randn(1, 4, 16, 16))


def test_values_are_those_of_the_tables():
    space = tabled()
    assert space.metrics == ["ops", "ms"]
    every = points(space)
    assert [space.cost(p)["ops"] for p in every] == [ops(p) for p in every]
    table = space.cost(every)
    assert table["ops"].dtype == np.int64
    assert table["ms"].dtype == np.float64
    assert table["ops"].tolist() == [ops(p) for p in every]
    for given in (space.indices(every), space.indices(every).astype(np.int64), np.asfortranarray(space.indices(every))):
        assert space.cost(given)["ops"].tolist() == table["ops"].tolist()
    assert type(space.cost(dict(every[0]))["ops"]) is int
    assert space.cost([])["ops"].shape == (0,)


def test_bounds_are_exact_and_attained():
    space = tabled()
    assert space.bounds("ops") == (min(map(ops, points(space))), max(map(ops, points(space))))
    low, high = space.extremes("ops")
    assert (space.cost(low)["ops"], space.cost(high)["ops"]) == space.bounds("ops")
    assert space.bounds("ms") == (0.35, 0.9)


@pytest.mark.parametrize("window", [(None, 20), (20, 40), (60, None), (20, 20), (None, None)])
def test_what_is_within_is_counted_and_drawn(window):
    space = tabled()
    low, high = (-1e9 if window[0] is None else window[0]), (1e9 if window[1] is None else window[1])
    expected = {p for p in points(space) if low <= ops(p) <= high}
    assert space.count({"ops": window}) == len(expected)
    assert set(space.samples(400, seed=3, constraints={"ops": window})) == expected


def test_several_constraints_at_once_and_a_real_cost_to_the_last_bit():
    space = tabled()
    every = points(space)
    for bound in {space.cost(p)["ms"] for p in every}:
        expected = {p for p in every if space.cost(p)["ms"] <= bound and ops(p) <= 40}
        found = space.samples(300, seed=1, constraints={"ms": (None, bound), "ops": (None, 40)})
        assert set(found) == expected
        assert all(space.cost(p)["ms"] <= bound for p in found)


def test_samples_are_a_function_of_the_seed():
    space = tabled()
    draw = lambda n, seed: space.samples(n, seed=seed, constraints={"ops": (None, 30)})  # noqa: E731
    assert draw(20, 1) == draw(20, 1) == draw(30, 1)[:20] != draw(20, 2)


def test_what_is_not_constrained_stays_free():
    space = mn.SearchSpace({"a": mn.choice([1, 2]), "b": mn.choice([1, 2, 3]), "lr": mn.real(0, 1)})
    space = space.with_cost("c", {"a": [1, 2]})
    found = space.samples(100, constraints={"c": (2, 2)})
    assert {p["a"] for p in found} == {2}
    assert {p["b"] for p in found} == {1, 2, 3}
    assert len({p["lr"] for p in found}) == 100
    assert "'lr' is real" in raised(mn.SpaceError, lambda: space.count({"c": (2, 2)}))


def test_a_large_space_is_counted_and_drawn_in_a_narrow_window():
    names = [f"k{i}" for i in range(60)]
    space = mn.SearchSpace({name: mn.choice([3, 5, 7]) for name in names})
    space = space.with_cost("ops", {name: [9, 25, 49] for name in names})
    ways = {0: 1}
    for _ in names:
        ways = {
            c: sum(ways.get(c - k, 0) for k in (9, 25, 49))
            for c in {a + k for a, k in itertools.product(ways, (9, 25, 49))}
        }
    low, high = 700, 720
    assert space.count({"ops": (low, high)}) == sum(n for c, n in ways.items() if low <= c <= high)
    found = space.samples(500, seed=0, constraints={"ops": (low, high)})
    assert len(set(found)) > 490
    assert all(low <= c <= high for c in space.cost(found)["ops"])


def test_an_estimate_says_so():
    names = [f"d{i}" for i in range(40)]
    rng = np.random.default_rng(0)
    space = mn.SearchSpace({name: mn.choice([0, 1, 2]) for name in names})
    space = space.with_cost("ms", {name: rng.random(3) for name in names})
    count = space.count({"ms": (20, 20.3)})
    assert not count.exact
    assert count.low <= int(count) <= count.high
    sampled = space.cost(space.sample_indices(0, 0, 200_000))["ms"]
    share = np.mean((sampled >= 20) & (sampled <= 20.3))
    assert count.value / space.size == pytest.approx(share, rel=0.1)


def test_a_supernet_brings_its_costs():
    net = supernet()
    space = net.space
    assert space.metrics == ["params", "macs", "activation_bytes"]
    table = net.cost(points(space))
    assert space.bounds("macs") == (table["macs"].min(), table["macs"].max())
    middle = int(np.median(table["macs"]))
    assert space.count({"macs": (None, middle)}) == int((table["macs"] <= middle).sum())
    inside = space.samples(200, seed=1, constraints={"macs": (None, middle), "params": (1000, None)})
    costs = net.cost(inside)
    assert (costs["macs"] <= middle).all()
    assert (costs["params"] >= 1000).all()
    assert net.original_point.space.metrics == space.metrics
    timed = space.with_cost("latency_ms", {"2.op": {"original": 1.5, "identity": 0.0}})
    assert timed.cost(net.original_point)["latency_ms"] == 1.5
    assert timed == space


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_keep_the_costs(duplicate):
    space = tabled()
    again = duplicate(space)
    assert again == space
    assert again.bounds("ms") == space.bounds("ms")
    net = supernet()
    assert duplicate(net).space.bounds("macs") == net.space.bounds("macs")


def test_joined_spaces_add_their_costs():
    space, other = tabled(), mn.SearchSpace({"d": mn.choice([0, 1])})
    assert (space | other).bounds("ops") == space.bounds("ops")
    assert (other | space).cost({"op": "pool", "n": 4, "d": 0})["ops"] == 11
    both = space | other.with_cost("ops", {"d": [0, 100]})
    assert both.bounds("ops")[1] == space.bounds("ops")[1] + 100


def test_costs_as_json_are_read_back():
    space = tabled()
    make, (decisions, costs) = space.__reduce__()
    assert [metric["name"] for metric in json.loads(costs)] == space.metrics
    assert make(decisions, costs).bounds("ops") == space.bounds("ops")
    assert "not the costs of a space" in raised(mn.SpaceError, lambda: make(decisions, "3"))


def test_a_study_draws_inside_the_constraints():
    net = supernet()
    low, high = net.space.bounds("macs")
    limit = low + (high - low) // 50
    for algorithm in ("random", "regularized_evolution", "nsga2", "simulated_annealing"):
        study = mn.Study(net.space, algorithm, {"s": "max"}, {"macs": (None, limit)}, seed=1)
        trials = study.ask(10)
        assert all(net.cost(trial.point)["macs"] <= limit for trial in trials)
    text = raised(mn.SpaceError, lambda: mn.Study(net.space, "random", {"s": "max"}, {"macs": (None, low - 1)}))
    assert f"The space has macs from {low} to {high}" in text
    mn.Study(net.space, "random", {"s": "max"}, {"measured_ms": (None, 1)}).ask(1)


def test_errors_say_what_to_do():
    space, plain = tabled(), mn.SearchSpace({"a": mn.choice([1, 2])})
    text = (
        "the space has no costs; use supernet.space of mn.rewrite, or attach one by "
        "space.with_cost(name, {decision: {choice: cost}})"
    )
    assert raised(mn.SpaceError, lambda: plain.bounds("macs")) == text
    assert raised(mn.SpaceError, lambda: plain.samples(1, constraints={"macs": (0, 1)})) == text
    text = "the space has no cost 'op'; did you mean 'ops'?; attach one by with_cost"
    assert raised(mn.SpaceError, lambda: space.count({"op": (0, 1)})) == text
    text = "no point has ops of 0 to 5; widen the constraints. The space has ops from 10 to 63"
    assert raised(mn.SpaceError, lambda: space.samples(1, constraints={"ops": (0, 5)})) == text
    text = "no point has ops of 11 to 11 and ms of 0.9 to inf; widen the constraints. "
    found = raised(mn.SpaceError, lambda: space.samples(1, constraints={"ops": (11, 11), "ms": (0.9, None)}))
    assert found.startswith(text)
    text = "constraint 'ops' is (5, 1); expected (low, high) with low <= high"
    assert raised(mn.SpaceError, lambda: space.samples(1, constraints={"ops": (5, 1)})) == text
    text = "constraint 'ops' is an int (5); expected (low, high), None for an open side"
    assert raised(mn.SpaceError, lambda: space.samples(1, constraints={"ops": 5})) == text


@pytest.mark.parametrize(
    ("tables", "text"),
    [
        ({"b": [1, 2]}, "the space has no decision 'b'; known: 'a'"),
        ({"a": [1]}, "cost 'c' has 1 values for 'a'; expected 2, one for each of one of (1, 2)"),
        ({"a": {1: 3}}, "cost 'c' has no value for 2 of 'a'; give every choice one"),
        ({"a": {1: 3, 5: 4}}, "cost 'c' has a value for 5 of 'a'; it is one of (1, 2)"),
        ({"a": [1, "x"]}, "cost 'c' is a str ('x') for a choice of 'a'; expected a number"),
        ({"a": 3}, "cost 'c' is given an int (3) for 'a'; expected a dict of choice to value, or one value a choice"),
        ({("a", "a"): [[1, 2], [3, 4]]}, "cost 'c' has a table for 'a' with itself; give it one by 'a'"),
        ({"a": [1, float("nan")]}, "cost 'c' has a value that is not finite; give finite ones"),
        ([1, 2], "cost 'c' is given as a list ([1, 2]); expected a dict of decision to table"),
    ],
)
def test_tables_that_do_not_fit(tables, text):
    space = mn.SearchSpace({"a": mn.choice([1, 2])})
    assert raised(mn.SpaceError, lambda: space.with_cost("c", tables)) == text
