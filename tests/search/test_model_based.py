"""Model-based search with a regressor of the user's."""

import numpy as np
import pytest

import modularnas as mn
from modularnas import testing

SPACE = mn.SearchSpace({name: mn.choice(range(10)) for name in "abcdef"})


class Ridge:
    """As small as a regressor with scikit-learn's methods can be."""

    def __init__(self, penalty=1.0):
        self.penalty = penalty

    def get_params(self):
        return {"penalty": self.penalty}

    def fit(self, X, y):
        assert not hasattr(self, "weights"), "every fit is of a fresh copy"
        assert X.shape == (len(y), 60)
        self.weights = np.linalg.solve(X.T @ X + self.penalty * np.eye(X.shape[1]), X.T @ y)

    def predict(self, X):
        return X @ self.weights


def best(algorithm, seed=0, **options):
    study = mn.Study(SPACE, algorithm, objectives={"loss": "min"}, seed=seed, **options)
    study.optimize(lambda point: sum(point.values()), trials=80, progress=False)
    return study.best_trial.values["loss"]


def test_a_regressor_of_the_user_leads_the_search():
    make = lambda: mn.search.ModelBased(model=Ridge(), startup=20, every=20)  # noqa: E731
    assert repr(make()).startswith("ModelBased(model='Ridge(penalty=1.0)', optimizer='simulated_annealing'")
    guided = np.mean([best(make(), seed) for seed in range(3)])
    random = np.mean([best(mn.search.Random(), seed) for seed in range(3)])
    assert guided < random - 5
    assert best(mn.search.create("model_based", model=Ridge(), optimizer="sampling"), 1) < random


class Plain:
    """The same for any space."""

    def fit(self, X, y):
        self.weights = np.linalg.lstsq(X.T @ X + np.eye(X.shape[1]), X.T @ y, rcond=None)[0]

    def predict(self, X):
        return (X @ self.weights)[:, None]


def test_it_keeps_the_laws():
    make = lambda: mn.search.ModelBased(model=Plain(), startup=6, every=4)  # noqa: E731
    testing.check_algorithm(make, trials=16)
    testing.check_algorithm(make, objectives={"accuracy": "max", "macs": "min"}, trials=12)


def test_models_of_scikit_learn_get_a_seed():
    ensemble = pytest.importorskip("sklearn.ensemble")
    make = lambda: mn.search.ModelBased(  # noqa: E731
        model=ensemble.RandomForestRegressor(n_estimators=5), startup=20, every=30, optimizer="sampling"
    )
    assert best(make()) == best(make())


def test_another_model_is_another_study(tmp_path):
    path = tmp_path / "run.db"
    best(mn.search.ModelBased(model=Ridge(), startup=20, every=40), storage=path)
    with pytest.raises(mn.StudyError, match="penalty"):
        best(mn.search.ModelBased(model=Ridge(2.0), startup=20, every=40), storage=path)


class Silent(Ridge):
    def predict(self, X):
        return [float("nan")]


class Broken(Ridge):
    def predict(self, X):
        raise RuntimeError("no idea")


def test_mistakes_are_explained():
    message = "search algorithm 'model_based': model is 7; expected the name of a model or an object with fit\\(X, y\\)"
    with pytest.raises(mn.SearchError, match=message):
        mn.search.ModelBased(model=7)
    with pytest.raises(mn.SearchError, match="predicts 1 numbers, 0 of them finite, for 128 points; expected a finite"):
        best(mn.search.ModelBased(model=Silent(), startup=20, every=20))
    with pytest.raises(RuntimeError, match="no idea"):
        best(mn.search.ModelBased(model=Broken(), startup=20, every=20))
    bench = mn.benchmarks.synthetic("sphere")
    with pytest.raises(mn.EvaluationError, match="is no algorithm of the native half"):
        mn.benchmarks.replay(bench, [mn.search.ModelBased(model=Ridge())], trials=5, seeds=1)


def test_bananas_takes_the_graph_of_a_cell():
    ops = ["none", "skip", "conv"]
    space = mn.SearchSpace({f"edge_{a}_{b}": mn.choice(ops) for b in range(1, 4) for a in range(b)})
    cell = {"edges": {f"edge_{a}_{b}": [a, b] for b in range(1, 4) for a in range(b)}, "absent": ["none"]}
    study = mn.Study(space, mn.search.Bananas(cell=cell), objectives={"convs": "max"})
    study.optimize(lambda point: [*point.values()].count("conv"), trials=60, progress=False)
    assert study.best_trial.values["convs"] == 6
    with pytest.raises(mn.SearchError, match="cell: edge 'edge_0_1' leads from 1 to 0; expected a larger number"):
        mn.Study(space, mn.search.Bananas(cell={"edges": {"edge_0_1": [1, 0]}}), objectives={"convs": "max"})
