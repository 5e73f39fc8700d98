"""Search spaces and points as a user sees them from Python."""

import copy
import itertools
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Mapping

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import modularnas as mn


def conv_or_pool(**more):
    return mn.SearchSpace(
        {"op": mn.choice(["conv", "pool"]), "k": mn.choice([3, 5, 7], active_if=("op", ["conv"])), **more}
    )


MIXED = conv_or_pool(n=mn.integer(1, 8), lr=mn.real(1e-4, 1e-1, log=True))
DISCRETE = conv_or_pool(inputs=mn.subset(["a", "b", "c"], take=2))


def test_size_is_exact():
    assert conv_or_pool().size == 4
    assert DISCRETE.size == 12
    assert MIXED.size is None
    assert mn.SearchSpace({}).size == 1
    assert mn.SearchSpace({f"d{i}": mn.choice(range(10)) for i in range(50)}).size == 10**50
    assert mn.SearchSpace({"n": mn.integer(2, 9, step=3)}).size == 3


def test_decisions_say_what_they_are():
    op, k, n, lr = MIXED.decisions
    assert (op.name, op.kind, op.choices, op.active_if, op.low) == ("op", "categorical", ("conv", "pool"), None, None)
    assert (k.choices, k.active_if) == ((3, 5, 7), ("op", ("conv",)))
    assert (n.kind, n.low, n.high, n.step, n.choices) == ("integer", 1, 8, 1, None)
    assert (lr.kind, lr.low, lr.high, lr.log) == ("real", 1e-4, 1e-1, True)
    assert (DISCRETE["inputs"].kind, DISCRETE["inputs"].take) == ("subset", 2)
    assert [decision.name for decision in MIXED.decisions] == ["op", "k", "n", "lr"]
    assert repr(k) == "<Decision 'k': one of (3, 5, 7), active if 'op' is one of ('conv')>"
    assert len(MIXED) == 4
    assert MIXED["k"] == k


def test_names_read_well():
    assert repr(MIXED) == "<SearchSpace: 4 decisions, infinitely many points>"
    assert repr(DISCRETE) == "<SearchSpace: 3 decisions, 12 points>"
    assert repr(mn.SearchSpace({f"d{i}": mn.choice(range(10)) for i in range(8)})) == (
        "<SearchSpace: 8 decisions, 1.0e+08 points>"
    )
    assert repr(DISCRETE.unrank(0)) == "Point({'op': 'conv', 'k': 3, 'inputs': ('a', 'b')})"


# Sampling


def test_samples_are_points_and_a_function_of_the_seed():
    points = MIXED.samples(50, seed=3)
    assert points == MIXED.samples(50, seed=3) != MIXED.samples(50, seed=4)
    assert points[0] == MIXED.sample(seed=3)
    assert MIXED.samples(0) == []
    for point in points:
        MIXED.check(point)
        assert point in MIXED


def test_samples_are_the_same_in_another_process():
    script = f"""
import modularnas as mn
space = mn.SearchSpace.from_json({MIXED.to_json()!r})
print(*(point.to_json() for point in space.samples(20, seed=7)), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [point.to_json() for point in MIXED.samples(20, seed=7)]


def test_each_decision_is_uniform_over_its_values():
    points = MIXED.samples(4000, seed=0)
    counts = [sum(point["n"] == n for point in points) for n in range(1, 9)]
    assert sum((count - 500) ** 2 / 500 for count in counts) < 24.3  # chi-square, 7 degrees of freedom, 0.1%
    logs = sorted(math.log10(point["lr"]) for point in points)
    assert all(abs((x + 4) / 3 - i / 4000) < 0.031 for i, x in enumerate(logs))  # Kolmogorov-Smirnov, 0.1%


# Points


def test_a_point_is_a_mapping_of_the_active_decisions():
    point = MIXED.point({"lr": 0.01, "n": 2, "op": "pool"})
    assert isinstance(point, Mapping)
    assert dict(point) == {**point} == {"op": "pool", "n": 2, "lr": 0.01}
    assert [*point] == list(point.keys()) == ["op", "n", "lr"]  # as declared, not as given
    assert list(point.values()) == ["pool", 2, 0.01]
    assert list(point.items()) == [("op", "pool"), ("n", 2), ("lr", 0.01)]
    assert len(point) == 3
    assert "op" in point
    assert "k" not in point
    assert 7 not in point
    assert point["n"] == 2
    assert point.get("n") == 2
    assert point.get("k") is None
    assert point.get("k", 3) == 3
    with pytest.raises(KeyError) as error:
        point["k"]
    assert error.value.args == ("k",)


def test_a_point_takes_numbers_of_any_kind_and_subsets_in_any_order():
    point = MIXED.point({"op": "conv", "k": np.int64(3), "n": 2.0, "lr": np.float64(0.01)})
    assert point == MIXED.point({"op": "conv", "k": 3, "n": 2, "lr": 0.01})
    assert type(point["n"]) is int
    assert DISCRETE.point({"op": "pool", "inputs": ["c", "a"]})["inputs"] == ("a", "c")


def test_points_of_every_domain_come_back_from_copies_pickles_and_json():
    values = [3, 2.5, "x", True, None, (1, ("y", False))]
    space = mn.SearchSpace({"any": mn.choice(values), "some": mn.subset(values, take=3), "x": mn.real(-1, 1)})
    for point in space.samples(20, seed=0):
        for twin in (
            copy.copy(point),
            copy.deepcopy(point),
            pickle.loads(pickle.dumps(point)),
            space.point(json.loads(point.to_json())),
            space.point(dict(point)),
            space.point(point),
        ):
            assert twin == point
            assert hash(twin) == hash(point)
            assert dict(twin) == dict(point)
        assert point.space == space


def test_points_are_equal_by_what_they_say():
    one, other = conv_or_pool(), conv_or_pool()
    assert one.unrank(2) == other.unrank(2)
    assert len({one.unrank(2), other.unrank(2), one.unrank(1)}) == 2
    assert one.unrank(2) != one.unrank(1)
    assert one.unrank(2) != dict(one.unrank(2))
    with pytest.raises(TypeError):
        one.unrank(2)["op"] = "pool"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"op": "pol", "n": 2, "lr": 0.1}, "decision 'op' is given 'pol'; expected one of ('conv', 'pool')"),
        (
            {"op": "pool", "n": 2},
            "decision 'lr' is missing; expected a real number from 0.0001 to 0.1 (log scale)",
        ),
        (
            {"op": "pool", "n": 2, "lr": 0.1, "k": 3},
            "decision 'k' is given 3, but it is inactive ('op' is 'pool'); leave it out",
        ),
        ({"op": "conv", "n": 2, "lr": 0.1}, "decision 'k' is missing; expected one of (3, 5, 7)"),
        ({"op": "pool", "n": 2, "lr": 0.1, "kk": 3}, "the space has no decision 'kk'; did you mean 'k'?"),
        ({"op": "pool", "n": 0, "lr": 0.1}, "decision 'n' is given 0; expected an integer from 1 to 8"),
        ({"op": "pool", "n": 2.5, "lr": 0.1}, "decision 'n' is given 2.5; expected an integer from 1 to 8"),
        ({"op": "pool", "n": True, "lr": 0.1}, "decision 'n' is given True; expected an integer from 1 to 8"),
        (
            {"op": "pool", "n": 2, "lr": math.nan},
            "decision 'lr' is given NaN; expected a real number from 0.0001 to 0.1 (log scale)",
        ),
        (
            {"op": "pool", "n": 2, "lr": 1},
            "decision 'lr' is given 1; expected a real number from 0.0001 to 0.1 (log scale)",
        ),
        (3, "a point is given as a int; expected a Point or a dict of decision name to value"),
        (
            {"op": print, "n": 2, "lr": 0.1},
            "a value of a decision is a builtin_function_or_method; expected a str, int, float, bool, None or a tuple "
            "of these (name the object by a string and look it up)",
        ),
    ],
)
def test_wrong_points_are_explained(values, message):
    for refuse in (MIXED.point, MIXED.check):
        with pytest.raises(mn.SpaceError) as error:
            refuse(values)
        assert str(error.value) == message
    assert values not in MIXED


@pytest.mark.parametrize("given", [("a", "a"), ("a",), "a", ("a", "z")])
def test_wrong_subsets_are_explained(given):
    with pytest.raises(mn.SpaceError, match=r"decision 'inputs' is given .*; expected 2 different ones of"):
        DISCRETE.point({"op": "pool", "inputs": given})


def test_points_of_another_space_are_refused():
    with pytest.raises(mn.SpaceError) as error:
        DISCRETE.check(MIXED.point({"op": "pool", "n": 2, "lr": 0.01}))
    assert str(error.value) == "the space has no decision 'n'; known: 'op', 'k', 'inputs'"


# Numbers


def test_rank_is_the_position_in_the_order_of_product():
    space = mn.SearchSpace({"a": mn.choice(["x", "y", "z"]), "n": mn.integer(1, 2), "s": mn.subset([1, 2, 3], take=2)})
    subsets = list(itertools.combinations([1, 2, 3], 2))
    expected = list(itertools.product("xyz", [1, 2], subsets))
    assert [tuple(space.unrank(i).values()) for i in range(space.size)] == expected
    assert [space.rank(space.unrank(i)) for i in range(space.size)] == list(range(space.size))


def test_ranks_of_any_size():
    space = mn.SearchSpace({f"d{i}": mn.choice(range(10)) for i in range(50)})
    for rank in (0, 7, 10**49 + 123456789, 10**50 - 1):
        point = space.unrank(rank)
        assert "".join(map(str, point.values())) == f"{rank:050d}"
        assert space.rank(point) == rank


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: DISCRETE.unrank(12), "rank 12 is out of range; the space has 12 points"),
        (lambda: DISCRETE.unrank(-1), "a rank is -1; expected 0 or more"),
        (
            lambda: MIXED.rank(MIXED.sample(seed=0)),
            "the space cannot be numbered: decision 'lr' is real; rank and unrank need discrete ones",
        ),
        (lambda: DISCRETE["kk"], "the space has no decision 'kk'; did you mean 'k'?"),
        (lambda: DISCRETE.point_at([1, 0, 0]), "decision 'k' has a value, but it is inactive ('op' is 'pool')"),
        (
            lambda: DISCRETE.point_at([1]),
            "the point has 1 decisions of which 0 are real; the space has 3 and 0: it is of another space",
        ),
    ],
)
def test_wrong_questions_are_explained(ask, message):
    with pytest.raises(mn.SpaceError) as error:
        ask()
    assert str(error.value) == message


def test_neighbours_are_one_small_step_away():
    space = mn.SearchSpace({"a": mn.choice(["x", "y", "z"]), "n": mn.integer(1, 5)})
    near = space.neighbours({"a": "x", "n": 3})
    assert {tuple(point.values()) for point in near} == {("y", 3), ("z", 3), ("x", 2), ("x", 4)}
    flips = conv_or_pool().neighbours({"op": "pool"})
    assert [point["op"] for point in flips] == ["conv"]


def test_encode_and_indices_are_arrays():
    points = [DISCRETE.point({"op": "conv", "k": 7, "inputs": ("a", "b")}), {"op": "pool", "inputs": ("b", "c")}]
    encoded = DISCRETE.encode(points)
    assert encoded.dtype == np.float64
    np.testing.assert_array_equal(encoded, [[1, 0, 0, 0, 1, 1, 1, 0], [0, 1, 0, 0, 0, 0, 1, 1]])
    indices = DISCRETE.indices(points)
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(indices, [[0, 2, 0], [1, -1, 2]])
    assert DISCRETE.encode([]).shape == (0, 8)
    assert DISCRETE.encode(points[0]).shape == (1, 8)
    assert DISCRETE.point_at(indices[0]) == points[0]


def test_sampled_indices_are_points_wherever_the_rows_are_cut():
    rows = DISCRETE.sample_indices(5, 0, 100)
    assert rows.shape == (100, 3)
    np.testing.assert_array_equal(DISCRETE.sample_indices(5, 40, 20), rows[40:60])
    for row in rows:
        DISCRETE.point_at(row)


# Spaces as values


def test_spaces_are_values():
    twin = conv_or_pool(n=mn.integer(1, 8), lr=mn.real(1e-4, 1e-1, log=True))
    for space in (
        twin,
        copy.deepcopy(MIXED),
        pickle.loads(pickle.dumps(MIXED)),
        mn.SearchSpace.from_json(MIXED.to_json()),
    ):
        assert space == MIXED
        assert hash(space) == hash(MIXED)
        assert space.fingerprint == MIXED.fingerprint
    assert MIXED != DISCRETE
    assert MIXED.fingerprint != DISCRETE.fingerprint
    assert MIXED != 3


def test_spaces_are_joined():
    joined = conv_or_pool() | mn.SearchSpace({"lr": mn.real(0, 1)}) | conv_or_pool()
    assert [decision.name for decision in joined.decisions] == ["op", "k", "lr"]
    with pytest.raises(mn.SpaceError) as error:
        _ = mn.SearchSpace({"a": mn.choice([1, 2])}) | mn.SearchSpace({"a": mn.choice([1, 3])})
    assert str(error.value) == (
        "decision 'a' is one of (1, 2) in one space and one of (1, 3) in the other; rename one before joining"
    )


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        (
            3,
            "a search space is given as a int; expected a dict of name to choice(...), integer(...), real(...) or subset(...)",
        ),
        ({"a": 3}, "decision 'a' is a int; expected choice(...), integer(...), real(...) or subset(...)"),
        ({"": mn.choice([1])}, "decision number 0 has an empty name; give it one"),
        ({"a": mn.choice([])}, "decision 'a': has no choices; give at least one"),
        ({"a": mn.choice([1, 2, 1])}, "decision 'a': choice 1 is given twice"),
        ({"a": mn.integer(3, 1)}, "decision 'a': low 3 is above high 1"),
        ({"a": mn.integer(1, 3, step=0)}, "decision 'a': step is 0, expected 1 or more"),
        ({"a": mn.real(1, 0)}, "decision 'a': low 1 is above high 0"),
        ({"a": mn.real(0, math.inf)}, "decision 'a': bounds 0 and inf must be finite"),
        ({"a": mn.real(0, 1, log=True)}, "decision 'a': low is 0, but a log scale needs low > 0"),
        ({"a": mn.subset([1, 2], take=3)}, "decision 'a': takes 3 of only 2 labels"),
        (
            {"op": mn.choice([1]), "b": mn.choice([1], active_if=("opp", [1]))},
            "decision 'b' is active_if 'opp' takes a value, but there is no such decision; did you mean 'op'?",
        ),
        (
            {"a": mn.choice([1, 2]), "b": mn.choice([1], active_if=("a", [3]))},
            "decision 'b' is active_if 'a' is 3; it is one of (1, 2)",
        ),
        (
            {"a": mn.real(0, 1), "b": mn.choice([1], active_if=("a", [0.5]))},
            "decision 'b' is active_if 'a' takes a value, but that decision is real; depend on a discrete one",
        ),
        (
            {"a": mn.choice([1], active_if=("b", [1])), "b": mn.choice([1], active_if=("a", [1]))},
            "decision 'a' depends on itself through its conditions; break the cycle",
        ),
    ],
)
def test_wrong_spaces_are_explained(decisions, message):
    with pytest.raises(mn.SpaceError) as error:
        mn.SearchSpace(decisions)
    assert str(error.value) == message


def test_wrong_texts_are_explained():
    with pytest.raises(mn.SpaceError, match="^the text is not a search space: expected value at line 1 column 1$"):
        mn.SearchSpace.from_json("x")
    with pytest.raises(mn.SpaceError) as error:
        mn.SearchSpace.from_json('{"version":2,"decisions":[]}')
    assert str(error.value) == "the search space is of version 2, this library reads version 1; update it"


# Properties over random spaces

LABELS = st.one_of(
    st.integers(-9, 9), st.text("abc", max_size=3), st.none(), st.tuples(st.integers(0, 3), st.text("xy"))
)


def domains(real):
    labels = st.lists(LABELS, min_size=1, max_size=4, unique=True)
    kinds = [
        labels.map(lambda found: (mn.choice, (found,), {})),
        st.tuples(st.integers(-5, 5), st.integers(0, 6), st.integers(1, 3)).map(
            lambda n: (mn.integer, (n[0], n[0] + n[1]), {"step": n[2]})
        ),
        labels.flatmap(lambda found: st.integers(0, len(found)).map(lambda n: (mn.subset, (found,), {"take": n}))),
    ]
    if real:
        kinds.append(st.tuples(st.floats(0.1, 1), st.booleans()).map(lambda x: (mn.real, (x[0], 2.0), {"log": x[1]})))
    return st.one_of(kinds)


@st.composite
def spaces(draw, real=True):
    """A space of up to five decisions, some of them conditional on an earlier categorical one."""
    decisions, parents = {}, []
    for i in range(draw(st.integers(0, 5))):
        make, args, options = draw(domains(real))
        if parents and draw(st.booleans()):
            name, labels = draw(st.sampled_from(parents))
            options["active_if"] = (name, draw(st.lists(st.sampled_from(labels), min_size=1, unique=True)))
        decisions[f"d{i}"] = make(*args, **options)
        if make is mn.choice:
            parents.append((f"d{i}", args[0]))
    return mn.SearchSpace(decisions)


QUICK = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)


@QUICK
@hypothesis.given(spaces(), st.integers(0, 2**64 - 1))
def test_samples_of_any_space_are_points(space, seed):
    for point in space.samples(5, seed=seed):
        space.check(point)
        for twin in (
            space.point(dict(point)),
            space.point(json.loads(point.to_json())),
            pickle.loads(pickle.dumps(point)),
        ):
            assert twin == point
            assert hash(twin) == hash(point)
        row = space.encode([point])
        assert ((row >= 0) & (row <= 1)).all()
        active = [name for name, code in zip(space.decisions, space.indices([point])[0], strict=True) if code >= 0]
        assert [decision.name for decision in active] == [*point]


@QUICK
@hypothesis.given(spaces())
def test_any_space_comes_back_from_json_and_pickle(space):
    for twin in (mn.SearchSpace.from_json(space.to_json()), pickle.loads(pickle.dumps(space))):
        assert twin == space
        assert twin.fingerprint == space.fingerprint
        assert twin.sample(seed=1) == space.sample(seed=1)
    assert space | space == space


@QUICK
@hypothesis.given(spaces(real=False))
def test_every_rank_of_any_discrete_space_is_one_point(space):
    ranks = range(min(space.size, 200))
    points = [space.unrank(rank) for rank in ranks]
    assert [space.rank(point) for point in points] == [*ranks]
    assert len(set(points)) == len(points)
    indices = space.indices(points)
    assert len({tuple(row) for row in indices.tolist()}) == len(points)
    assert [space.point_at(row) for row in indices] == points
    encoded = space.encode(points)
    assert len({tuple(row) for row in encoded.tolist()}) == len(points)


@QUICK
@hypothesis.given(spaces(), st.integers(0, 1000))
def test_neighbours_in_any_space_are_other_points(space, seed):
    point = space.sample(seed=seed)
    near = space.neighbours(point)
    assert point not in near
    assert len(set(near)) == len(near)
    for other in near:
        space.check(other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda space: space.sample(seed=-1), "a seed or count is -1; expected an int from 0 to 2**64 - 1"),
        (lambda space: space.samples(-1), "a seed or count is -1; expected an int from 0 to 2**64 - 1"),
        (lambda space: space.samples(1.5), "a seed or count is 1.5; expected an int from 0 to 2**64 - 1"),
        (lambda space: mn.choice("xyz"), "choices are given as 'xyz'; expected a list of values"),
    ],
)
def test_wrong_numbers_and_choices_are_explained(make, message):
    with pytest.raises(mn.SpaceError) as error:
        make(mn.SearchSpace({"a": mn.choice([1, 2])}))
    assert str(error.value) == message
