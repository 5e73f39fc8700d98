"""Hill climbing by growth, on spaces that are sequences."""

import pytest
import torch
from torch import nn

import modularnas as mn


def sequences(n=8, labels=("a", "b", "c")):
    choices = ["stop", *labels]
    decisions = {"d0": mn.choice(choices)}
    for i in range(1, n):
        decisions[f"d{i}"] = mn.choice(choices, active_if=(f"d{i - 1}", list(labels)))
    return mn.SearchSpace(decisions)


def sequence(trial):
    return [value for value in trial.point.values() if value != "stop"]


def score(point):
    return sum({"a": 1.0, "b": -1.0, "c": 0.1}.get(value, 0) for value in point.values())


def run(trials, storage=None, **settings):
    study = mn.Study(sequences(), mn.search.HillClimbing(**settings), {"s": "max"}, storage=storage, seed=1)
    study.optimize(score, trials=trials, progress=False)
    return study


def test_generations():
    study = run(1 + 4 * 5, children=4, steps=1)
    assert sequence(study.trials[0]) == []
    parent = study.trials[0]
    for first in range(1, 21, 4):
        children = study.trials[first : first + 4]
        assert {child.parent for child in children} == {parent.number}
        for child in children[:3]:
            assert sequence(child)[:-1] == sequence(parent)
        assert sequence(children[3]) == sequence(parent)  # the parent itself, trained further
        best = max(children, key=lambda trial: trial.values["s"])
        assert best.values["s"] >= parent.values["s"]
        parent = best
    assert parent.values["s"] > 1


def test_it_resumes(tmp_path):
    whole = run(17, children=4, steps=2)
    run(7, tmp_path / "run.db", children=4, steps=2)
    resumed = run(17, tmp_path / "run.db", children=4, steps=2)
    assert [(t.point, t.parent) for t in resumed.trials] == [(t.point, t.parent) for t in whole.trials]


def test_failed_children_count():
    study = mn.Study(sequences(), mn.search.HillClimbing(children=2, steps=1), {"s": "max"}, seed=1)

    def fails(point):
        return mn.Failed("no memory") if len(point) > 2 else score(point)

    study.optimize(fails, trials=9, progress=False)
    assert all(trial.parent is None or study.trials[trial.parent].state == "complete" for trial in study.trials)


def test_what_it_cannot_search():
    with pytest.raises(mn.SearchError, match='needs decisions with a "stop"'):
        mn.Study(mn.SearchSpace({"n": mn.integer(1, 4)}), mn.search.HillClimbing(), {"s": "max"}).optimize(
            lambda point: 1.0, trials=1, progress=False
        )
    with pytest.raises(mn.SearchError, match="is given 2 objectives; expected one"):
        mn.Study(sequences(), mn.search.HillClimbing(), {"a": "max", "b": "max"}).optimize(
            lambda point: {"a": 1.0, "b": 1.0}, trials=1, progress=False
        )
    with pytest.raises(mn.SearchError, match="0 children"):
        mn.search.HillClimbing(children=0)


def test_morphisms_with_training(tmp_path):
    """The search of the paper on a toy: children start at least as well as their parents, and a resumed run goes on."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 6, generator=generator)
    y = torch.sin(x.sum(1, keepdim=True))
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1))
    torch.manual_seed(0)
    mn.transform.reinitialise(net, seed=1)
    morphisms = mn.transform.Morphisms(net, example=x, steps=9, kinds=["deepen_1", "widen_2", "skip"], sites=3)
    starts = []

    def fit(net):
        starts.append(nn.functional.mse_loss(net(x), y).item())
        optimizer = torch.optim.SGD(net.parameters(), 0.02)
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(x), y).backward()
            optimizer.step()

    def loss(net):
        return nn.functional.mse_loss(net(x), y).item()

    def study(trials):
        evaluator = mn.evaluate.Inheriting(morphisms.build, fit, loss, metric="loss", folder=tmp_path / "weights")
        algorithm = mn.search.HillClimbing(children=3, steps=2)
        study = mn.Study(morphisms.space, algorithm, {"loss": "min"}, storage=tmp_path / "run.db", seed=0)
        study.optimize(evaluator, trials=trials, progress=False)
        return study, evaluator

    study(5)
    done, evaluator = study(13)
    for trial, start in zip(done.trials, starts, strict=True):
        if trial.parent is not None:
            assert start == pytest.approx(done.trials[trial.parent].values["loss"], rel=1e-3)
    assert done.best_trial.values["loss"] < 0.9 * done.trials[0].values["loss"]
    best = evaluator.net(done.best_trial)
    assert loss(best) == pytest.approx(done.best_trial.values["loss"], rel=1e-4)
    with pytest.raises(mn.EvaluationError, match="was not evaluated here"):
        mn.evaluate.Inheriting(morphisms.build, fit, loss).net(done.best_trial)
