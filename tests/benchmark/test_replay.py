"""Replays: curves over many seeds, and the published figures that they must reach."""

import numpy as np
import pytest

import modularnas as mn


@pytest.fixture(scope="module")
def nb201(data):
    return mn.benchmarks.NASBench201(data / "nasbench201.npz")


def test_a_run_is_what_a_study_with_its_seed_does():
    bench = mn.benchmarks.synthetic("sphere")
    for name in ["random", "regularized_evolution", "asha", "pbt", "reinforce"]:
        curve = mn.benchmarks.replay(bench, [name], trials=60, seeds=3, first_seed=4)[name]
        for row, seed in enumerate([4, 5, 6]):
            study = mn.Study(bench.space, name, objectives=bench.objectives, seed=seed)
            study.optimize(bench, trials=60, progress=False)
            best, shown = (0.0, np.inf), []
            for trial in study.trials:
                loss = trial.values["loss"]
                if trial.fidelity > best[0] or (trial.fidelity == best[0] and loss < best[1]):
                    best = (trial.fidelity, loss)
                shown.append(best[1])
            np.testing.assert_array_equal(curve[row], shown)


def test_labels_and_mistakes():
    bench = mn.benchmarks.synthetic("sphere")
    twice = [mn.search.RegularizedEvolution(population=10), mn.search.RegularizedEvolution(population=20)]
    assert [*mn.benchmarks.replay(bench, twice, trials=5, seeds=2)] == [repr(one) for one in twice]
    assert [*mn.benchmarks.replay(bench, {"mine": "random"}, trials=5, seeds=2)] == ["mine"]
    for wrong in (mn.search.Human(), object()):
        with pytest.raises(mn.EvaluationError, match="is no algorithm of the native half"):
            mn.benchmarks.replay(bench, [wrong], trials=5, seeds=2)
    with pytest.raises(mn.EvaluationError, match="trials is 0 and seeds is 2; expected 1 or more"):
        mn.benchmarks.replay(bench, ["random"], trials=0, seeds=2)
    with pytest.raises(mn.SearchError, match="there is no search algorithm 'randm'"):
        mn.benchmarks.replay(bench, ["randm"])


def test_regret_tables_and_plots(tmp_path):
    bench = mn.benchmarks.synthetic("sphere")
    curves = mn.benchmarks.replay(bench, ["random", "evolution"], trials=30, seeds=8)
    regret = mn.benchmarks.regret(bench, curves, confidence=0.9)["random"]
    np.testing.assert_allclose(regret.mean, curves["random"].mean(0))
    half = 1.6448536 * curves["random"].std(0, ddof=1) / np.sqrt(8)
    np.testing.assert_allclose(regret.high - regret.mean, half, rtol=1e-6)
    with pytest.raises(mn.EvaluationError, match="confidence is 1"):
        mn.benchmarks.regret(bench, curves, confidence=1)

    frame = pytest.importorskip("pandas") and mn.benchmarks.to_pandas(curves)
    assert len(frame) == 2 * 8 * 30
    row = frame[(frame.algorithm == "evolution") & (frame.seed == 3) & (frame.trial == 7)]
    assert row.value.item() == curves["evolution"][3, 7]

    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    ax = mn.benchmarks.plot(bench, curves)
    assert ax.get_ylabel() == "regret of loss"
    assert len(ax.lines) == 2
    ax.figure.savefig(tmp_path / "regret.png")


def test_random_search_on_nasbench201_is_the_published_row(nb201):
    random = mn.benchmarks.replay(nb201, ["random"], trials=100, seeds=500)["random"][:, -1]
    # Dong and Yang 2020, table 5: 93.70 +- 0.36.
    assert abs(random.mean() - 93.70) < 0.12
    assert 0.2 < random.std() < 0.5


def test_algorithms_beat_random_search_on_nasbench201(nb201):
    names = ["random", "regularized_evolution", "reinforce", "ppo", "bohb", "dehb"]
    curves = mn.benchmarks.replay(nb201, names, trials=500, seeds=60)
    last = {name: curve[:, -1].mean() for name, curve in curves.items()}
    assert last["regularized_evolution"] > last["random"] + 0.1
    for name in ("reinforce", "ppo"):
        assert last[name] > last["random"] - 0.05, last
    for name in ("bohb", "dehb"):
        assert last[name] > 93.7, last


@pytest.mark.parametrize("name", ["successive_halving", "hyperband", "asha", "bohb", "dehb", "pbt", "reinforce", "ppo"])
def test_two_objectives_under_a_constraint_on_nasbench201(nb201, name):
    study = mn.Study(
        nb201.space,
        name,
        objectives={"valid_accuracy": "max", "latency_raspi4_ms": "min"},
        constraints={"params": (None, 700_000)},
        seed=1,
    )
    study.optimize(nb201, trials=150, workers=2, progress=False)
    assert len(study.trials) == 150
    assert all(trial.values["params"] <= 700_000 for trial in study.pareto_front)


def test_nasbench101_draws_again_where_a_point_is_no_cell(data):
    bench = mn.benchmarks.NASBench101(data / "nasbench101.npz")
    curves = mn.benchmarks.replay(bench, ["random", "regularized_evolution"], trials=300, seeds=40)
    assert np.isfinite(curves["random"]).all()
    assert 93.0 < curves["random"][:, 99].mean() < 94.0
    assert curves["regularized_evolution"][:, -1].mean() > curves["random"][:, -1].mean()
