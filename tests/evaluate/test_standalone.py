"""Training from scratch: fidelity, checkpoints, inheritance, pruning, and what a wrong fit or score is told."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import modularnas as mn

X, Y = torch.randn(32, 4, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 2
SPACE = mn.SearchSpace({"width": mn.choice([2, 4])})
POINT = SPACE.point({"width": 4})


def build(point):
    return nn.Sequential(nn.Linear(4, point["width"]), nn.ReLU(), nn.Linear(point["width"], 2))


def step(model):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(X), Y).backward()
    optimizer.step()


def score(model):
    assert not model.training
    return -nn.functional.cross_entropy(model(X), Y)


class Steps:
    """A fit that remembers how it was called."""

    def __init__(self):
        self.calls = []

    def __call__(self, model, epochs=1, **rest):
        assert model.training
        self.calls.append((epochs, rest))
        for _ in range(epochs):
            step(model)


def trial(number=0, point=POINT, fidelity=1.0, parent=None):
    return mn.evaluate.Candidate(number, point, fidelity, parent)


def test_a_fidelity_is_a_share_of_every_amount():
    fit = Steps()

    def take(model, epochs, data_fraction, resolution):
        fit(model, epochs, data_fraction=data_fraction, resolution=resolution)

    amounts = {"epochs": 20, "data_fraction": 0.8, "resolution": (16, 32)}
    evaluator = mn.evaluate.Standalone(build, take, score, fidelity=amounts)
    evaluator.evaluate([trial(), trial(1, fidelity=0.25), trial(2, fidelity=0.001)])
    assert fit.calls == [
        (20, {"data_fraction": 0.8, "resolution": 32}),
        (5, {"data_fraction": 0.2, "resolution": 20}),
        (1, {"data_fraction": pytest.approx(0.0008), "resolution": 16}),
    ]


@pytest.mark.parametrize("folder", [None, "checkpoints"])
def test_a_promoted_trial_goes_on_from_its_checkpoint(folder, tmp_path):
    settings = {"fidelity": {"epochs": 8}, "checkpoints": folder and tmp_path / folder}
    fit = Steps()

    def seen(model, epochs, checkpoint):
        fit(model, epochs, checkpoint=dict(checkpoint))
        checkpoint["steps"] = checkpoint.get("steps", 0) + epochs

    evaluator = mn.evaluate.Standalone(build, seen, score, **settings)
    evaluator.evaluate([trial(0, fidelity=0.25)])
    if folder:  # another process goes on
        evaluator = mn.evaluate.Standalone(build, seen, score, **settings)
    promoted = evaluator.evaluate([trial(1, fidelity=1.0, parent=0)])[0]
    assert fit.calls == [(2, {"checkpoint": {}}), (6, {"checkpoint": {"steps": 2}})]
    at_once = mn.evaluate.Standalone(build, Steps(), score, fidelity={"epochs": 8}).evaluate([trial(0)])[0]
    assert promoted["accuracy"] == pytest.approx(at_once["accuracy"], abs=1e-6)


def test_asha_trains_what_is_missing():
    trained = []

    def fit(model, epochs):
        trained.append(epochs)
        for _ in range(epochs):
            step(model)

    study = mn.Study(SPACE, mn.search.Asha(), objectives={"accuracy": "max"}, seed=0)
    study.optimize(mn.evaluate.Standalone(build, fit, score, fidelity={"epochs": 9}), trials=20, progress=False)
    promoted = [t for t in study.trials if t.parent is not None]
    assert promoted
    assert {t.state for t in study.trials} == {"complete"}
    total = sum(trained)
    alone = sum(max(1, -(-round(9 * t.fidelity * 1e6) // 10**6)) for t in study.trials)
    assert total < alone  # promoted ones did not begin anew


def test_a_child_inherits_where_asked():
    seen = []

    def look(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    def fit(model):
        look(model)
        step(model)

    wide, narrow = trial(0), trial(1, SPACE.point({"width": 2}), parent=0)
    mn.evaluate.Standalone(build, fit, score, inherit=True).evaluate([wide, narrow])
    assert list(seen[1]) == list(seen[0])
    assert not torch.equal(seen[1]["2.bias"], seen[0]["2.bias"])  # trained, then inherited
    mn.evaluate.Standalone(build, fit, score).evaluate([trial(1, SPACE.point({"width": 2}), parent=0)])
    assert not torch.equal(seen[2]["2.bias"], seen[1]["2.bias"])  # not inherited
    given = []
    own = mn.evaluate.Standalone(build, fit, score, inherit=lambda model, state: given.append(sorted(state)))
    own.evaluate([wide, narrow])
    assert given == [["0.bias", "0.weight", "2.bias", "2.weight"]]


def test_a_generator_is_pruned_between_its_steps():
    reports = []

    class Pruned(SimpleNamespace):
        def report(self, at, value):
            reports.append((at, value))

        def should_prune(self):
            return len(reports) == 2

    def fit(model, epochs):
        for _ in range(epochs):
            step(model)
            yield

    asked = Pruned(number=0, point=POINT, fidelity=1.0, parent=None)
    (outcome,) = mn.evaluate.Standalone(build, fit, score, fidelity={"epochs": 9}).evaluate([asked])
    assert isinstance(outcome, mn.Pruned)
    assert [at for at, _ in reports] == [0, 1]
    assert outcome.values == {"accuracy": reports[-1][1]}


def test_fit_gets_the_trial_and_may_end_it():
    def fit(model, trial):
        return mn.Failed(f"no room for {trial.number}")

    assert mn.evaluate.Standalone(build, fit, score).evaluate([trial(7)]) == [mn.Failed("no room for 7")]


def test_the_same_seed_is_the_same_training_and_the_users_numbers_stay():
    state = torch.get_rng_state()
    first, again, other = (
        mn.evaluate.Standalone(build, Steps(), score, seed=seed).evaluate([trial(3)])[0] for seed in (0, 0, 1)
    )
    assert first == again != other
    assert torch.equal(state, torch.get_rng_state())


def test_no_training_of_a_supernet():
    net = mn.rewrite(build(POINT), [mn.rules.width(0.5, 1.0)], example=X)
    evaluator = mn.evaluate.Standalone(net, None, score)
    assert evaluator.evaluate([trial(0, net.original_point)])[0]["accuracy"] == pytest.approx(score(net.eval()).item())


def grow(model):
    model.append(nn.Linear(2, 2))
    step(model)


@pytest.mark.parametrize(
    ("fit", "score", "text"),
    [
        (lambda model: None, score, "trial 5: fit left every weight as it was; is its loader empty, or its optimizer"),
        (grow, score, "trial 5: fit changed the architecture (3.bias: None became (2,)); it must train the given"),
        (step, lambda model: None, "trial 5: score returned None for 'accuracy'; expected a number"),
        (
            step,
            lambda model: torch.zeros((), device="meta"),
            "trial 5: score returned a tensor of shape () and torch.float32 on meta for 'accuracy'; expected",
        ),
        (step, lambda model: model(X), "trial 5: score returned a tensor of shape (32, 2) and torch.float32 on cpu"),
    ],
)
def test_wrong_functions_are_told_the_trial(fit, score, text):
    with pytest.raises(mn.EvaluationError) as found:
        mn.evaluate.Standalone(build, fit, score).evaluate([trial(5)])
    assert str(found.value).startswith(text)


def test_a_score_that_is_not_finite_fails_the_trial():
    study = mn.Study(SPACE, "random", objectives={"accuracy": "max"})
    study.optimize(mn.evaluate.Standalone(build, Steps(), lambda model: float("nan")), trials=1, progress=False)
    assert study.trials[0].state == "failed"
    assert study.trials[0].error == "trial 0: score returned nan for 'accuracy'; expected a finite number"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"build": 3}, "Standalone is given a int; expected a supernet from mn.rewrite or a function of a point"),
        ({"fit": 3}, "fit is a int; expected a function fit(model, ...)"),
        ({"score": None}, "score is a NoneType; expected a function score(model, ...)"),
        ({"fidelity": {"epochs": 0}}, "fidelity of 'epochs' is 0; expected a number above 0 or a pair (low, high)"),
    ],
)
def test_wrong_settings(settings, text):
    with pytest.raises(mn.EvaluationError) as found:
        mn.evaluate.Standalone(**{"build": build, "fit": step, "score": score, **settings})
    assert str(found.value).startswith(text)
