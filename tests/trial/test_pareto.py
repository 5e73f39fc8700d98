"""Fronts, ranks and hypervolume: against brute force, against moocore where it is installed, and the errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import modularnas as mn

#: Few different values, so that ties and equal rows are common.
values = st.tuples(st.integers(0, 40), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(-3, 3).map(float))
)


def dominates(a, b):
    return (a <= b).all() and (a < b).any()


def brute_ranks(rows):
    ranks = np.full(len(rows), -1)
    rank = 0
    while (ranks < 0).any():
        left = [i for i in range(len(rows)) if ranks[i] < 0]
        ranks[[i for i in left if not any(dominates(rows[j], rows[i]) for j in left)]] = rank
        rank += 1
    return ranks


def cloud(kind, n, m):
    rng = np.random.default_rng(n + m)
    if kind == "uniform":
        return rng.random((n, m))
    if kind == "ties":
        return np.round(rng.random((n, m)) * 20) / 20
    sphere = np.abs(rng.standard_normal((n, m)))
    return 1 - sphere / np.linalg.norm(sphere, axis=1, keepdims=True) * (1 - 0.02 * rng.random((n, 1)))


@given(rows=values)
def test_ranks_and_front_are_those_of_brute_force(rows):
    expected = brute_ranks(rows)
    ranks = mn.pareto_ranks(rows)
    assert ranks.dtype == np.int64
    np.testing.assert_array_equal(ranks, expected)
    np.testing.assert_array_equal(mn.pareto_front(rows), np.flatnonzero(expected == 0))


@given(rows=values)
def test_hypervolume_counts_the_dominated_cells(rows):
    m = rows.shape[1]
    corners = np.stack(np.meshgrid(*[np.arange(-3, 2)] * m), -1).reshape(-1, m)
    dominated = (rows[:, None] <= corners).all(2).any(0).sum()
    assert mn.hypervolume(rows, [2.0] * m) == pytest.approx(dominated, abs=1e-9)


@pytest.mark.parametrize("kind", ["uniform", "ties", "sphere"])
@pytest.mark.parametrize("m", [2, 3, 4])
def test_they_agree_with_moocore(kind, m):
    moocore = pytest.importorskip("moocore")
    for n in (100, 3000):
        rows = cloud(kind, n, m)
        np.testing.assert_array_equal(mn.pareto_ranks(rows), moocore.pareto_rank(rows))
        kept = np.flatnonzero(moocore.is_nondominated(rows, keep_weakly=True))
        np.testing.assert_array_equal(mn.pareto_front(rows), kept)
        reference = np.full(m, 0.9)
        assert mn.hypervolume(rows, reference) == pytest.approx(moocore.hypervolume(rows, ref=reference), rel=1e-12)


@pytest.mark.parametrize("m", [3, 4])
def test_the_hypervolume_of_a_sphere_nears_its_volume(m):
    sphere = np.abs(np.random.default_rng(0).standard_normal((2000, m)))
    volume = mn.hypervolume(-sphere / np.linalg.norm(sphere, axis=1, keepdims=True), [0.0] * m)
    whole = {3: np.pi / 6, 4: np.pi**2 / 32}[m]
    assert 0.8 * whole < volume < whole


def test_directions_turn_objectives_round():
    rows = np.array([[0.9, 3.0], [0.8, 1.0], [0.7, 2.0]])
    assert mn.pareto_front(rows, ["max", "min"]).tolist() == [0, 1]
    assert mn.pareto_ranks(rows, ("max", "min")).tolist() == [0, 0, 1]
    assert mn.pareto_front(-rows, "max").tolist() == mn.pareto_front(rows).tolist() == [1, 2]
    assert mn.hypervolume(rows, [0.5, 4.0], ["max", "min"]) == pytest.approx(0.3 * 3 + 0.1 * 0 + 0.1 * 1)
    assert mn.hypervolume(rows[:, ::-1].tolist(), (4, 0), ["min", "max"]) > 0


def test_any_layout_and_type_of_array():
    rows = np.random.default_rng(0).integers(0, 9, (50, 3))
    expected = brute_ranks(rows)
    for same in (rows, rows.astype(np.float32), np.asfortranarray(rows), np.repeat(rows, 2, 0)[::2], rows.tolist()):
        np.testing.assert_array_equal(mn.pareto_ranks(same), expected)


def test_nothing_and_infinity():
    assert mn.pareto_front(np.zeros((0, 2))).tolist() == []
    assert mn.hypervolume(np.zeros((0, 2)), [1, 1]) == 0.0
    assert mn.pareto_ranks([[np.inf, 0], [0, np.inf], [-np.inf, 0]]).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mn.pareto_front([1.0, 2.0]), "values has shape (2,); expected (candidates, objectives)"),
        (
            lambda: mn.pareto_ranks([[1, 2], [np.nan, 0]]),
            "values has NaN in row 1; leave out candidates without a measurement",
        ),
        (
            lambda: mn.pareto_front([[1, 2]], ["min"]),
            'directions is [\'min\']; expected "min" or "max", for all 2 or for each',
        ),
        (
            lambda: mn.pareto_front([[1, 2]], "down"),
            'directions is \'down\'; expected "min" or "max", for all 2 or for each',
        ),
        (lambda: mn.hypervolume([[1, 2]], [3]), "reference has shape (1,); expected (2,), one an objective"),
        (lambda: mn.hypervolume([[1, 2]], [3, np.nan]), "reference is [3.0, nan]; expected numbers, not NaN"),
        (
            lambda: mn.pareto_front([["a", "b"]]),
            "values is no array of numbers (could not convert string to float: np.str_('a'))",
        ),
    ],
)
def test_wrong_values_are_explained(call, message):
    with pytest.raises(mn.EvaluationError) as raised:
        call()
    # How NumPy names what it cannot convert differs from version to version.
    assert str(raised.value).replace("np.str_('a')", "'a'") == message.replace("np.str_('a')", "'a'")
