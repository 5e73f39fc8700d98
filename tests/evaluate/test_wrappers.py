"""Evaluators around evaluators: every one passes failures through and works inside a study."""

import time
from types import SimpleNamespace

import pytest

import modularnas as mn

SPACE = mn.SearchSpace({"n": mn.integer(0, 9)})


def trials(*values):
    return [
        SimpleNamespace(number=i, point=SPACE.point({"n": n}), fidelity=1.0, parent=None) for i, n in enumerate(values)
    ]


def each(point):
    return mn.Failed("nine") if point["n"] == 9 else {"accuracy": point["n"] / 10, "latency_ms": 10.0 + point["n"]}


INNER = mn.evaluate.Function(each)
WRAPPED = {
    "cached": lambda inner: mn.evaluate.Cached(inner),
    "averaged": lambda inner: mn.evaluate.Averaged(lambda seed: inner, 2),
    "normalised": lambda inner: mn.evaluate.Normalised(inner, SPACE),
    "sum": lambda inner: mn.evaluate.WeightedSum(inner, {"accuracy": 1.0, "latency_ms": -0.01}),
    "product": lambda inner: mn.evaluate.Product(inner, "accuracy", {"latency_ms": (12, 0.0, -1.0)}),
    "joined": lambda inner: mn.evaluate.Joined(inner),
    "timeout": lambda inner: mn.evaluate.Timeout(inner, 60),
    "ensemble": lambda inner: mn.evaluate.Ensemble(inner, ["accuracy", "-latency_ms"], SPACE),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_metrics_stay_and_failures_pass_through(name):
    outcomes = WRAPPED[name](INNER).evaluate(trials(3, 9, 5))
    assert outcomes[1] == mn.Failed("nine")
    assert outcomes[0].items() >= each({"n": 3}).items()
    assert outcomes[2].items() >= each({"n": 5}).items()


@pytest.mark.parametrize("name", sorted({*WRAPPED} - {"cached", "timeout"}))
def test_a_bare_number_has_no_name(name):
    with pytest.raises(mn.EvaluationError, match=r"trial \d: the evaluator inside \w+ returned 1.0; expected a dict"):
        WRAPPED[name](mn.evaluate.Function(lambda point: 1.0)).evaluate(trials(3))


def test_cached_measures_each_architecture_once_a_fidelity():
    calls = []
    inner = mn.evaluate.Function(lambda point: calls.append(point["n"]) or each(point))
    cached = mn.evaluate.Cached(inner, canonical=lambda point: point["n"] // 2)
    asked = trials(2, 3, 9, 2)
    asked[3].fidelity = 0.5
    outcomes = cached.evaluate(asked)
    assert calls == [2, 9, 2]
    assert outcomes[0] == outcomes[1]
    outcomes[0]["accuracy"] = 7
    cached.evaluate(asked)
    assert calls == [2, 9, 2, 9]  # what failed is tried again
    assert cached.evaluate(asked[:1])[0]["accuracy"] == 0.2
    cached.forget()
    cached.evaluate(asked[:1])
    assert calls[-1] == 2


def test_means_and_deviations():
    averaged = mn.evaluate.Averaged(lambda seed: mn.evaluate.Function(lambda p: {"a": p["n"] + seed}), [0, 4])
    assert averaged.evaluate(trials(3)) == [{"a": 5.0, "a_std": pytest.approx(8**0.5)}]
    with pytest.raises(mn.EvaluationError, match="seeds is 0; expected one or more"):
        mn.evaluate.Averaged(lambda seed: INNER, 0)


def test_scales():
    standard = mn.evaluate.Normalised(INNER, SPACE, n_points=200).evaluate(trials(0, 4, 8))
    values = [outcome["accuracy_normalised"] for outcome in standard]
    assert values[0] < -1 < 0.2 > abs(values[1])
    assert values[2] > 1
    spread = mn.evaluate.Normalised(INNER, SPACE, how="range", n_points=200).evaluate(trials(0, 8))
    assert [outcome["latency_ms_normalised"] for outcome in spread] == [0.0, 1.0]
    with pytest.raises(mn.EvaluationError, match="none of 64 points could be evaluated"):
        mn.evaluate.Normalised(mn.evaluate.Function(lambda p: mn.Failed("x")), SPACE).evaluate(trials(1))


def test_the_product_of_mnasnet():
    product = WRAPPED["product"](INNER).evaluate(trials(1, 8))
    assert product[0]["reward"] == 0.1  # below the target nothing is lost
    assert product[1]["reward"] == pytest.approx(0.8 * 12 / 18)
    with pytest.raises(mn.EvaluationError, match=r"limit of 'latency_ms' is \(0, -1\); expected"):
        mn.evaluate.Product(INNER, "accuracy", {"latency_ms": (0, -1)})
    with pytest.raises(mn.EvaluationError, match="trial 0 has no metric 'energy'; it has accuracy, latency_ms"):
        mn.evaluate.WeightedSum(INNER, {"energy": 1.0}).evaluate(trials(1))


def test_joined_evaluators():
    other = mn.evaluate.Function(lambda p: {"size": p["n"]})
    assert mn.evaluate.Joined(INNER, other).evaluate(trials(1, 9)) == [
        {"accuracy": 0.1, "latency_ms": 11.0, "size": 1},
        mn.Failed("nine"),
    ]
    with pytest.raises(mn.EvaluationError, match="trial 0: two evaluators give 'size'"):
        mn.evaluate.Joined(other, other).evaluate(trials(1))
    named = mn.evaluate.Joined(a=other, b=mn.evaluate.Function(lambda p: {"size": 3 * p["n"]})).evaluate(trials(2))
    assert named == [{"a_size": 2, "b_size": 6, "size": 4}]


def slow(point):
    for _ in range(500 * point["n"]):
        time.sleep(0.01)
    return {"accuracy": 1.0}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_late_trial_fails_in_any_thread(workers):
    study = mn.Study(mn.SearchSpace({"n": mn.integer(0, 1)}), "grid", objectives={"accuracy": "max"})
    evaluator = mn.evaluate.Timeout(mn.evaluate.Function(slow), 0.2)
    study.optimize(evaluator, trials=2, workers=workers, progress=False)
    by_n = {trial.point["n"]: trial for trial in study.trials}
    assert by_n[0].state == "complete"
    assert by_n[1].state == "failed"
    assert "took longer than 0.2 s" in by_n[1].error


def test_an_error_inside_a_time_limit_passes_through():
    def breaks(point):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        mn.evaluate.Timeout(mn.evaluate.Function(breaks), 5).evaluate(trials(1))
    with pytest.raises(mn.EvaluationError, match="seconds is 0; expected a number above 0"):
        mn.evaluate.Timeout(INNER, 0)
