"""A batch of trials as one array."""

import numpy as np
import pytest

import modularnas as mn

SPACE = mn.SearchSpace(
    {"op": mn.choice(["conv", "pool"]), "k": mn.choice([3, 5, 7], active_if=("op", ["conv"])), "n": mn.integer(1, 4)}
)
OBJECTIVES = {"sum": "max", "first": "min"}


def measure(indices):
    assert indices.dtype == np.int32
    return {"sum": indices.sum(1), "first": indices[:, 0].tolist(), "extra": np.ones(len(indices), np.float32)}


def story(study):
    return [(dict(t.point), t.state, t.values) for t in study.trials]


def run(evaluator, algorithm="nsga2", objectives=OBJECTIVES, trials=70, batch=30, **options):
    study = mn.Study(SPACE, algorithm, objectives=objectives, seed=3)
    study.optimize(evaluator, trials=trials, batch=batch, progress=False, **options)
    return study


class ByTrials:
    """Hides the way by indices."""

    def __init__(self, evaluator):
        self.evaluate = evaluator.evaluate


def test_it_is_the_same_run_as_trial_by_trial():
    fast, slow = mn.evaluate.Vectorized(measure), ByTrials(mn.evaluate.Vectorized(measure))
    assert story(run(fast)) == story(run(slow))
    assert story(run(fast))[0][2].keys() == {"sum", "first", "extra"}


def test_one_objective_may_be_an_array_alone():
    fast = mn.evaluate.Vectorized(lambda indices: indices[:, 2] * 0.5)
    one = run(fast, "random", {"n": "max"})
    assert one.best_trial.values == {"n": 1.5}
    assert story(one) == story(run(ByTrials(fast), "random", {"n": "max"}))


def test_a_benchmark_can_be_queried_by_it():
    bench = mn.benchmarks.synthetic("dtlz2", dimensions=4, objectives=2)
    with pytest.raises(mn.EvaluationError, match="the evaluator takes indices, which a real decision such as 'x1'"):
        mn.Study(bench.space, "random", objectives={"f1": "min", "f2": "min"}).optimize(
            mn.evaluate.Vectorized(bench.query), trials=4
        )


def test_nan_and_missing_metrics_are_failures():
    study = run(mn.evaluate.Vectorized(lambda i: np.where(i[:, 0] > 0, np.nan, 1.0)), "random", {"n": "max"})
    assert {(t.state, t.error) for t in study.trials} == {
        ("complete", None),
        ("failed", "metric 'n' is nan, expected a finite number"),
    }
    study = run(mn.evaluate.Vectorized(lambda i: {"first": i[:, 0]}))
    assert {t.error for t in study.trials} == {"metric 'sum' is missing"}


def test_exceptions_pass_or_are_recorded():
    def broken(indices):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(mn.evaluate.Vectorized(broken))
    study = run(mn.evaluate.Vectorized(broken), catch=KeyError)
    assert all(t.state == "failed" and t.error.startswith("KeyError: 'mine'") for t in study.trials)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (
            lambda i: {"sum": i.sum(1)[:-1], "first": i[:, 0]},
            "the evaluator returned an array of shape (29,) for metric 'sum' of 30 trials; expected 30 numbers",
        ),
        (
            lambda i: {"sum": i, "first": i[:, 0]},
            "the evaluator returned an array of shape (30, 3) for metric 'sum' of 30 trials; expected 30 numbers",
        ),
        (
            lambda i: {"sum": 1.0, "first": i[:, 0]},
            "the evaluator returned a float (1.0) for metric 'sum' of 30 trials; expected 30 numbers",
        ),
        (
            lambda i: i.sum(1).tolist()[0] * 0.0,
            "the evaluator returned a float (0.0); expected a dict of arrays with 'sum', 'first'",
        ),
    ],
)
def test_wrong_answers_are_explained(f, message):
    with pytest.raises(mn.EvaluationError) as raised:
        run(mn.evaluate.Vectorized(f))
    assert str(raised.value) == message


def test_only_functions():
    with pytest.raises(mn.EvaluationError, match="Vectorized is given a int; expected a function of an int32 array"):
        mn.evaluate.Vectorized(3)
