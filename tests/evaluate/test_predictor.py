"""Predictors, encodings and learning curves."""

import numpy as np
import pytest

import modularnas as mn

SPACE = mn.SearchSpace({f"d{i}": mn.choice(range(4)) for i in range(5)})


def value(point):
    return 90 + sum(point.values()) / 10


@pytest.mark.parametrize("kind", ["gp", "forest", "boosting", "mlp", "linear", "ensemble"])
def test_every_kind_ranks_says_so_and_repeats(kind):
    points, unseen = SPACE.samples(80, seed=0), SPACE.samples(60, seed=1)
    predictor = mn.evaluate.Predictor(SPACE, kind, seed=3).fit(points, [value(p) for p in points])
    mean, std = predictor.predict(unseen)
    tau = mn.evaluate.rank_report(mean, [value(p) for p in unseen], resamples=1).kendall
    assert tau > 0.6
    assert abs(predictor.report.kendall - tau) < 0.25
    assert (std >= 0).all()
    again = mn.evaluate.Predictor(SPACE, kind, seed=3).fit(points, [value(p) for p in points]).predict(unseen)
    assert np.array_equal(again[0], mean)
    assert np.array_equal(again[1], std)


def test_it_learns_from_trials_and_evaluates_them():
    study = mn.Study(SPACE, "random", objectives={"accuracy": "max"}, seed=0)
    study.optimize(lambda p: mn.Failed("no") if p["d0"] == 3 else {"accuracy": value(p)}, trials=80, progress=False)
    predictor = mn.evaluate.Predictor(SPACE, "gp", min_kendall=0.5).fit(study.trials)
    assert predictor.report.n == sum(trial.state == "complete" for trial in study.trials)
    other = mn.Study(SPACE, "regularized_evolution", objectives={"accuracy": "max"}, seed=1)
    other.optimize(predictor, trials=60, progress=False)
    assert other.best_trial.values.keys() == {"accuracy", "accuracy_std"}
    assert value(other.best_trial.point) > np.mean([value(p) for p in SPACE.samples(50)])


def test_a_predictor_of_noise_is_refused():
    points = SPACE.samples(50, seed=0)
    noise = np.random.default_rng(0).normal(size=50)
    predictor = mn.evaluate.Predictor(SPACE, "forest", min_kendall=0.5).fit(points, noise)
    with pytest.raises(
        mn.EvaluationError, match=r"Kendall's tau of this predictor is -?0\.\d+ by cross-validation, below"
    ):
        predictor.evaluate(mn.evaluate.candidates(points[:1]))


CELLS = mn.SearchSpace({f"edge_{i}_{j}": mn.choice(["none", "skip", "conv"]) for i, j in [(0, 1), (0, 2), (1, 2)]})


def rows(encoding, points, space=CELLS, **settings):
    made = mn.evaluate.encoding.encoding_of(encoding, space, settings.get("graph", mn.evaluate.cell_edges))
    made.learn(points)
    assert sorted(c for start, stop, _ in made.columns for c in range(start, stop)) == list(
        range(made.rows(points).shape[1])
    )
    return made.rows(points)


def test_encodings_by_hand():
    through = CELLS.point({"edge_0_1": "conv", "edge_0_2": "none", "edge_1_2": "skip"})
    direct = CELLS.point({"edge_0_1": "none", "edge_0_2": "conv", "edge_1_2": "skip"})
    assert rows("adjacency", [through, direct]).tolist() == [[1, 0, 1], [0, 1, 1]]
    assert rows("path", [through, direct]).tolist() == [[1, 0], [0, 1]]  # ('conv', 'skip') and ('conv',)
    assert rows("one_hot", [through]).shape == (1, 9)
    assert rows(["path", "one_hot"], [through, direct]).shape == (2, 11)
    assert rows(lambda points: [[1.0], [3.0]], [through, direct]).tolist() == [[-1.0], [1.0]]
    costly = CELLS.with_cost("macs", {"edge_0_1": [0, 1, 10]})
    points = [costly.point(dict(point.items())) for point in (through, direct)]
    assert rows("costs", points, costly).tolist() == [[1.0], [-1.0]]


def test_isomorphic_cells_have_the_same_paths():
    space = mn.SearchSpace(
        {f"edge_{i}_{j}": mn.choice([0, 1]) for j in range(4) for i in range(j)}
        | {f"op_{i}": mn.choice(["a", "b"]) for i in (1, 2)}
    )
    edges = {"edge_0_1": 1, "edge_0_2": 1, "edge_1_2": 0, "edge_0_3": 0, "edge_1_3": 1, "edge_2_3": 1}
    first, second = (space.point({**edges, "op_1": x, "op_2": y}) for x, y in ("ab", "ba"))
    assert np.array_equal(*rows("path", [first, second], space))
    assert not np.array_equal(*rows("adjacency", [first, second], space))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"kind": "gpp"}, "there is no predictor 'gpp'; did you mean 'gp'?"),
        ({"encoding": "hash"}, "encoding is 'hash'; expected one of one_hot, adjacency, path, costs"),
        ({"encoding": "path"}, "<SearchSpace: 5 decisions, 1024 points> has no decisions named edge_0_1 and so on"),
        ({"encoding": "costs"}, "<SearchSpace: 5 decisions, 1024 points> knows no costs; take supernet.space"),
    ],
)
def test_wrong_settings(settings, text):
    with pytest.raises(mn.EvaluationError) as found:
        mn.evaluate.Predictor(SPACE, **settings)
    assert str(found.value).startswith(text)


def test_wrong_use():
    predictor = mn.evaluate.Predictor(SPACE)
    with pytest.raises(mn.EvaluationError, match="the predictor has learnt nothing yet"):
        predictor.predict(SPACE.samples(1))
    for points, values in ((SPACE.samples(2), [1.0]), ([], []), (SPACE.samples(1), [np.nan])):
        with pytest.raises(mn.EvaluationError, match="expected a finite value of 'accuracy' for each"):
            predictor.fit(points, values)


def test_a_curve_goes_on_as_it_began():
    steps = np.arange(1, 13)
    for family in (
        lambda t: 0.8 - 0.5 * t**-0.7,
        lambda t: 0.8 - 0.6 * np.exp(-0.3 * t),
        lambda t: 2 + 3 / np.log1p(t),
    ):
        mean, std = mn.evaluate.extrapolate(family(steps.astype(float)), target=60)
        assert abs(mean - family(60.0)) < 0.03 * abs(family(1.0) - family(60.0)) + 2 * std
    flat, std = mn.evaluate.extrapolate([0.1] * 5, target=50)
    assert flat == pytest.approx(0.1, abs=0.02)
    nearer = mn.evaluate.extrapolate(0.8 - 0.5 / steps, target=13)[1]
    assert nearer < mn.evaluate.extrapolate(0.8 - 0.5 / steps, target=500)[1]


@pytest.mark.parametrize(
    ("curve", "settings", "text"),
    [
        ([0.1], {}, r"a learning curve has shape \(1,\); expected two or more finite values"),
        ([0.1, np.nan], {}, "a learning curve has shape"),
        ([0.1, 0.2], {"steps": [2, 1]}, "steps are .* expected rising steps above 0"),
    ],
)
def test_wrong_curves(curve, settings, text):
    with pytest.raises(mn.EvaluationError, match=text):
        mn.evaluate.extrapolate(curve, 10, **settings)


def test_nasbench201(data):
    bench = mn.benchmarks.NASBench201(data / "nasbench201.npz")
    train, test = bench.space.samples(100, seed=0), bench.space.samples(200, seed=1)
    truth = [bench.query(point)["valid_accuracy"] for point in test]
    taus = {}
    for encoding in ("one_hot", "adjacency", "path"):
        predictor = mn.evaluate.Predictor(bench.space, "gp", encoding=encoding, folds=0)
        predictor.fit(train, [bench.query(point)["valid_accuracy"] for point in train])
        taus[encoding] = mn.evaluate.rank_report(predictor.predict(test)[0], truth, resamples=1).kendall
    assert min(taus.values()) > 0.45, taus
