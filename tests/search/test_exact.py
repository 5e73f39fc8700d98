"""The exact solver against listing every point."""

import numpy as np
import pytest

import modularnas as mn


def problem(seed):
    rng = np.random.default_rng(seed)
    space = mn.SearchSpace(
        {
            "op": mn.choice(["conv", "pool", "none"]),
            "k": mn.choice([3, 5, 7], active_if=("op", ["conv"])),
            "a": mn.choice([1, 2, 3]),
            "b": mn.integer(1, 4),
        }
    )
    space = space.with_cost("ms", {"op": rng.random(3), "k": rng.random(3), ("a", "b"): rng.random((3, 4))})
    space = space.with_cost("kb", {"op": rng.integers(0, 9, 3), "b": rng.integers(0, 9, 4)})
    scores = {"op": rng.random(3), "k": rng.random(3), "a": rng.random(3), ("b", "a"): rng.random((4, 3))}
    return space, scores


def score(space, scores, point):
    """The sum by definition."""
    codes = dict(zip((d.name for d in space.decisions), space.indices([point])[0], strict=True))
    total = 0.0
    for key, table in scores.items():
        at = tuple(codes[name] for name in (key if isinstance(key, tuple) else (key,)))
        total += table[at] if min(at) >= 0 else 0.0
    return total


@pytest.mark.parametrize("seed", range(10))
def test_the_optimum_is_that_of_listing(seed):
    space, scores = problem(seed)
    every = [space.unrank(i) for i in range(space.size)]
    costs = space.cost(every)
    limits = {"ms": (None, float(np.quantile(costs["ms"], 0.4))), "kb": (int(np.quantile(costs["kb"], 0.2)), None)}
    within = (costs["ms"] <= limits["ms"][1]) & (costs["kb"] >= limits["kb"][0])
    values = [score(space, scores, point) for point, fits in zip(every, within, strict=True) if fits]
    for direction, pick in (("max", max), ("min", min)):
        best = mn.search.exact(space, scores, limits, direction=direction)
        assert best.score == pytest.approx(pick(values), abs=1e-12)
        assert best.score == pytest.approx(score(space, scores, best.point), abs=1e-12)
        assert best.costs == space.cost(best.point)
        assert best.costs["ms"] <= limits["ms"][1]


@pytest.mark.parametrize("seed", range(10))
def test_the_sweep_is_the_front(seed):
    space, scores = problem(seed)
    every = [space.unrank(i) for i in range(space.size)]
    pairs = sorted((space.cost(point)["ms"], -score(space, scores, point)) for point in every)
    front, best = [], np.inf
    for ms, loss in pairs:
        if loss < best - 1e-12:
            best = loss
            front.append((ms, -loss))
    found = mn.search.exact_sweep(space, scores, "ms")
    assert [(one.costs["ms"], one.score) for one in found] == [pytest.approx(pair, abs=1e-12) for pair in front]


def test_without_costs_the_best_choices_are_taken():
    space = mn.SearchSpace({"a": mn.choice([1, 2, 3]), "b": mn.choice([1, 2])})
    best = mn.search.exact(space, {"a": {1: 0, 2: 5, 3: 1}})
    assert (best.point["a"], best.score, best.costs) == (2, 5.0, {})


def test_errors():
    space, scores = problem(0)
    with pytest.raises(mn.SpaceError, match=r"no point has ms of -inf to -1; widen .* The space has ms from"):
        mn.search.exact(space, scores, {"ms": (None, -1)})
    with pytest.raises(mn.SpaceError, match="direction is 'best'; expected"):
        mn.search.exact(space, scores, direction="best")
    with pytest.raises(mn.SpaceError, match="the space has no costs"):
        mn.search.exact_sweep(mn.SearchSpace({"a": mn.choice([1])}), {}, "ms")
    with pytest.raises(mn.SpaceError, match="the score has no value for 'none' of 'op'"):
        mn.search.exact(space, {"op": {"conv": 1, "pool": 2}})
    real = mn.SearchSpace({"lr": mn.real(0, 1)})
    with pytest.raises(mn.SpaceError, match="decision 'lr' is real; the exact search needs discrete ones"):
        mn.search.exact(real, {})
