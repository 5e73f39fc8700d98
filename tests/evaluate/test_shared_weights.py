"""Evaluation with shared weights: policies, metrics, memory, and that nothing of the supernet is touched."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import modularnas as mn

X = torch.randn(8, 3, 8, 8) * 3 + 2
BATCHES = [torch.randn(8, 3, 8, 8) for _ in range(3)]


@pytest.fixture
def supernet():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    rules = [mn.rules.kernel_size(3, 5), mn.rules.replace(nn.ReLU, ["original", nn.SiLU])]
    made = mn.rewrite(net, rules, example=X)
    made.train().sampling("uniform", seed=0)
    with torch.no_grad():
        for _ in range(3):
            made(X)
    return made


def trials(supernet, n=8, seed=0):
    return [
        SimpleNamespace(number=i, point=point, fidelity=1.0)
        for i, point in enumerate(supernet.space.samples(n, seed=seed))
    ]


def mean(net):
    return net(X).mean()


def by_hand(supernet, point, policy):
    net = mn.derive(supernet, point).eval()
    if policy == "recalibrate":
        mn.evaluate.recalibrate(net, BATCHES)
    elif policy == "batch":
        net[1].train()
    with torch.no_grad():
        return net(X).mean().item()


@pytest.mark.parametrize("policy", ["recalibrate", "batch", "none"])
def test_policies(supernet, policy):
    calibration = BATCHES if policy == "recalibrate" else None
    evaluator = mn.evaluate.SharedWeights(supernet, mean, batch_norm=policy, calibration=calibration)
    for trial, values in zip(trials(supernet), evaluator.evaluate(trials(supernet)), strict=True):
        assert values == {
            **supernet.cost(trial.point),
            "accuracy": pytest.approx(by_hand(supernet, trial.point, policy), rel=1e-5),
        }


def test_policies_differ(supernet):
    trial = trials(supernet)[:1]
    scores = {
        mn.evaluate.SharedWeights(supernet, mean, batch_norm=policy, calibration=BATCHES).evaluate(trial)[0]["accuracy"]
        for policy in ("recalibrate", "batch", "none")
    }
    assert len(scores) == 3


@pytest.mark.parametrize("policy", ["recalibrate", "batch", "none"])
def test_the_supernet_and_the_users_random_numbers_are_left_alone(supernet, policy):
    def score(net):
        assert not net.training
        assert not any(type(module).__module__.startswith("modularnas") for module in net.modules())
        return net(X + torch.rand(())).mean().item()

    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    point, state = supernet.active_point, torch.get_rng_state()
    mn.evaluate.SharedWeights(supernet, score, batch_norm=policy, calibration=BATCHES).evaluate(trials(supernet))
    assert torch.equal(torch.get_rng_state(), state)
    assert supernet.active_point == point
    assert supernet.training
    after = supernet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_scores_are_deterministic_in_any_order(supernet):
    def score(net):
        return net(X + torch.rand(())).mean().item()

    def values(asked):
        evaluator = mn.evaluate.SharedWeights(supernet, score, calibration=BATCHES)
        return {trial.point: values for trial, values in zip(asked, evaluator.evaluate(asked), strict=True)}

    asked = trials(supernet)
    assert values(asked) == values(asked[::-1])


def test_scores_are_remembered_until_told_to_forget(supernet):
    calls = []

    def score(net):
        calls.append(net)
        return net(X).mean().item()

    evaluator = mn.evaluate.SharedWeights(supernet, score, calibration=BATCHES)
    asked = trials(supernet, 3)
    points = len({trial.point for trial in asked})
    first = evaluator.evaluate(asked)
    assert evaluator.evaluate(asked) == first
    assert len(calls) == points
    first[0]["accuracy"] = 99.0
    assert evaluator.evaluate(asked)[0]["accuracy"] != 99.0
    with torch.no_grad():
        supernet.model[3].bias.add_(1.0)
    evaluator.forget()
    assert evaluator.evaluate(asked)[0]["accuracy"] != pytest.approx(first[1]["accuracy"])
    assert len(calls) == 2 * points


def test_a_generator_serves_every_candidate(supernet):
    listed = mn.evaluate.SharedWeights(supernet, mean, calibration=BATCHES)
    generated = mn.evaluate.SharedWeights(supernet, mean, calibration=(x for x in BATCHES))
    assert generated.evaluate(trials(supernet)) == listed.evaluate(trials(supernet))


def test_the_number_of_calibration_batches(supernet):
    few = mn.evaluate.SharedWeights(supernet, mean, calibration=BATCHES, n_calibration=1)
    one = mn.evaluate.SharedWeights(supernet, mean, calibration=BATCHES[:1])
    assert few.evaluate(trials(supernet)) == one.evaluate(trials(supernet))


def test_names_of_metrics(supernet):
    def several(net):
        return {"loss": torch.tensor(0.5), "macs": 3}

    settings = {"batch_norm": "none", "costs": False}
    asked = trials(supernet, 1)
    assert mn.evaluate.SharedWeights(supernet, several, **settings).evaluate(asked) == [{"loss": 0.5, "macs": 3.0}]
    assert mn.evaluate.SharedWeights(supernet, lambda net: 1, metric="top1", **settings).evaluate(asked) == [
        {"top1": 1.0}
    ]
    own = mn.evaluate.SharedWeights(supernet, several, batch_norm="none").evaluate(asked)[0]
    assert own["macs"] == 3.0  # what the user measures counts


def test_in_a_study(supernet):
    evaluator = mn.evaluate.SharedWeights(supernet, mean, calibration=BATCHES)
    study = mn.Study(supernet.space, mn.search.Random(), objectives={"accuracy": "max", "macs": "min"}, seed=0)
    study.optimize(evaluator, trials=6, progress=False)
    assert {trial.state for trial in study.trials} == {"complete"}
    assert all(trial.values["params"] == supernet.cost(trial.point)["params"] for trial in study.trials)


def test_an_error_of_the_score_passes_through(supernet):
    def score(net):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        mn.evaluate.SharedWeights(supernet, score, batch_norm="none").evaluate(trials(supernet, 1))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"score": 3}, "score is a int; expected a function score(net) -> float or dict"),
        ({"batch_norm": "best"}, "batch_norm is 'best'; expected one of 'recalibrate', 'batch', 'private', 'none'"),
        (
            {},
            'batch_norm="recalibrate" needs calibration=, a loader of some training batches; or choose '
            'batch_norm="batch" or "none"',
        ),
        ({"supernet": nn.ReLU()}, "SharedWeights is given a ReLU; expected a supernet from mn.rewrite"),
        (
            {"batch_norm": "none", "prefix_bytes": -1},
            "n_together is 8 and prefix_bytes -1; expected 1 or more, and 0 or more",
        ),
    ],
)
def test_wrong_settings(supernet, settings, text):
    with pytest.raises(mn.EvaluationError) as found:
        mn.evaluate.SharedWeights(**{"supernet": supernet, "score": mean, **settings})
    assert str(found.value) == text


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("0.9", "trial 0: score returned '0.9' for 'accuracy'; expected a number or a dict of numbers"),
        ({"loss": None}, "trial 0: score returned None for 'loss'; expected a number or a dict of numbers"),
        (True, "trial 0: score returned True for 'accuracy'; expected a number or a dict of numbers"),
    ],
)
def test_wrong_scores(supernet, result, text):
    evaluator = mn.evaluate.SharedWeights(supernet, lambda net: result, batch_norm="none")
    with pytest.raises(mn.EvaluationError) as found:
        evaluator.evaluate(trials(supernet, 1))
    assert str(found.value) == text


def test_an_empty_calibration(supernet):
    with pytest.raises(mn.EvaluationError, match="calibration gives no batch"):
        mn.evaluate.SharedWeights(supernet, mean, calibration=[]).evaluate(trials(supernet, 1))


def test_a_function_as_evaluator():
    assert mn.evaluate.Function(lambda point: point).evaluate([SimpleNamespace(point=i) for i in (1, 2)]) == [1, 2]
    with pytest.raises(mn.EvaluationError) as found:
        mn.evaluate.Function(3)
    assert str(found.value) == "Function is given a int; expected a function of a point"


def test_an_empty_calibration_names_the_trial(supernet):
    with pytest.raises(mn.EvaluationError, match="^trial 0: calibration gives no batch"):
        mn.evaluate.SharedWeights(supernet, mean, calibration=[]).evaluate(trials(supernet, 1))


def test_a_score_that_is_not_finite_fails_the_trial(supernet):
    evaluator = mn.evaluate.SharedWeights(supernet, lambda net: float("inf"), batch_norm="none")
    assert evaluator.evaluate(trials(supernet, 1)) == [
        mn.Failed("trial 0: score returned inf for 'accuracy'; expected a finite number")
    ]


def test_architectures_that_are_one_are_scored_once(supernet):
    calls = []

    def score(net):
        calls.append(net)
        return 1.0

    kernel = supernet.space.decisions[0].name
    evaluator = mn.evaluate.SharedWeights(supernet, score, batch_norm="none", canonical=lambda point: point[kernel])
    evaluator.evaluate(trials(supernet, 12))
    assert len(calls) == len({trial.point[kernel] for trial in trials(supernet, 12)})
