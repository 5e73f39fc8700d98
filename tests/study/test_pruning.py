"""Reports of running trials, and pruners that end them early."""

import pickle

import pytest

import modularnas as mn

SPACE = mn.SearchSpace({"lr": mn.real(1e-4, 1e-1, log=True), "width": mn.choice([16, 32])})


class Curves:
    """Losses that fall with the step and are worse the farther the learning rate is from 0.01."""

    def __init__(self, steps=10, metrics=lambda loss, trial: loss):
        self.steps = steps
        self.metrics = metrics
        self.n_reports = 0

    def evaluate(self, trials):
        return [self.fit(trial) for trial in trials]

    def fit(self, trial):
        for step in range(self.steps):
            loss = abs(trial.point["lr"] - 0.01) + 1 / (step + 1)
            trial.report(step, self.metrics(loss, trial))
            self.n_reports += 1
            if trial.should_prune():
                return mn.Pruned(self.metrics(loss, trial))
        return self.metrics(loss, trial)


def study(pruner=None, storage=None, objectives=None, **kwargs):
    objectives = objectives or {"loss": "min"}
    return mn.Study(SPACE, mn.search.Random(), objectives, storage=storage, seed=1, pruner=pruner, **kwargs)


PRUNERS = [
    mn.pruners.Median(startup_trials=3),
    mn.pruners.Percentile(30.0, startup_trials=3, interval_steps=2),
    mn.pruners.SuccessiveHalving(),
    mn.pruners.Hyperband(max_steps=9),
    mn.pruners.Patience(1, min_delta=0.2, pruner=mn.pruners.Median(startup_trials=3)),
    mn.pruners.Threshold(upper=0.51, warmup_steps=1),
]


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: type(pruner).__name__)
def test_every_pruner_saves_steps_and_keeps_the_best(pruner):
    s, curves = study(pruner), Curves()
    s.optimize(curves, trials=60, progress=False)
    assert {t.state for t in s.trials} == {"complete", "pruned"}
    assert curves.n_reports < 0.9 * 600
    whole = study()
    whole.optimize(Curves(), trials=60, progress=False)
    assert [t.point for t in s.trials] == [t.point for t in whole.trials], "random points do not depend on outcomes"
    ranked = sorted(whole.trials, key=lambda t: t.values["loss"])
    assert s.best_trial.point in [t.point for t in ranked[:20]]


@pytest.mark.parametrize("pruner", PRUNERS[:4], ids=lambda pruner: type(pruner).__name__)
def test_a_cut_anywhere_does_not_show(pruner, tmp_path):
    whole = study(pruner)
    whole.optimize(Curves(), trials=16, progress=False)
    for cut in (1, 5, 11):
        file = tmp_path / f"{cut}.db"
        study(pruner, file).optimize(Curves(), trials=cut, progress=False)
        # One is cut off after some reports, which do not count when it is handed out again.
        (running,) = study(pruner, file).ask()
        del running
        resumed = study(pruner, file)
        resumed.optimize(Curves(), trials=16, progress=False)
        assert [(t.state, t.values) for t in resumed.trials] == [(t.state, t.values) for t in whole.trials]


def test_reports_are_kept_and_seen_by_others(tmp_path):
    s = study(storage=tmp_path / "run.db")
    first, second = s.ask(2)
    first.report(3, 0.5)
    first.report(0, {"loss": 0.9, "accuracy": 0.1})
    first.report(3, {"loss": 0.4})
    second.report(0, float("nan"))
    expected = {0: {"loss": 0.9, "accuracy": 0.1}, 3: {"loss": 0.4}}
    assert first.reports == expected
    other = study(storage=tmp_path / "run.db")
    assert other.trials[0].reports == expected
    assert repr(other.trials[1].reports) == "{0: {'loss': nan}}"
    told = s.tell(first, 0.4)
    assert told.reports == expected
    with pytest.raises(mn.StudyError, match="trial 0 is finished; only a running trial reports"):
        first.report(4, 0.3)
    assert not second.should_prune()


@pytest.mark.parametrize(
    ("step", "value", "message"),
    [
        (-1, 0.5, "trial 0 reports at step an int (-1); expected an int, 0 or more"),
        ("a", 0.5, "trial 0 reports at step a str ('a'); expected an int, 0 or more"),
        (0, "x", "trial 0 reports a str ('x'); expected a number or a dict of metrics"),
        (0, {"accuracy": 0.5}, "trial 0 reports none of the objectives; report a number, or a dict with at least one of 'loss'"),
        (0, {}, "trial 0 reports none of the objectives; report a number, or a dict with at least one of 'loss'"),
    ],
)  # fmt: skip
def test_wrong_reports_are_explained(step, value, message):
    s = study()
    (trial,) = s.ask()
    with pytest.raises(mn.StudyError) as error:
        trial.report(step, value)
    assert str(error.value) == message


def test_wrong_settings_are_explained():
    with pytest.raises(mn.StudyError, match="pruner percentile: percentile is 120, expected above 0 and below 100"):
        mn.pruners.Percentile(120)
    with pytest.raises(mn.StudyError, match="pruner hyperband: max_steps is 1, expected min_steps"):
        mn.pruners.Hyperband(max_steps=1, min_steps=2)
    with pytest.raises(mn.StudyError, match="pruner is a str; expected one of mn.pruners"):
        study("median")


def test_with_constraints_and_several_objectives():
    metrics = lambda loss, trial: {"loss": loss, "ms": trial.point["width"] * 1.0, "macs": trial.point["width"]}  # noqa: E731
    s = study(
        mn.pruners.Median(startup_trials=4), objectives={"loss": "min", "ms": "min"}, constraints={"macs": (None, 20)}
    )
    s.optimize(Curves(metrics=metrics), trials=80, progress=False)
    pruned = [t for t in s.trials if t.state == "pruned"]
    assert pruned
    assert all(t.values["macs"] == 16 for t in s.pareto_front)
    wide = [t.state for t in s.trials[10:] if t.point["width"] == 32]
    assert wide.count("pruned") > 0.8 * len(wide), "they break the constraint"


def test_workers_prune_alike():
    s = study(mn.pruners.SuccessiveHalving())
    s.optimize(Curves(), trials=60, workers=3, progress=False)
    assert {"complete", "pruned"} <= {t.state for t in s.trials}


def test_trials_compare_and_pickle():
    s = study()
    a, b = s.ask(2)
    assert a == s.trials[0]
    assert hash(a) == hash(s.trials[0])
    assert a != b
    told = s.tell(a, {"loss": 0.5, "accuracy": 0.25})
    assert told != a
    for trial in (told, b, s.tell(b, mn.Failed("no"))):
        copy = pickle.loads(pickle.dumps(trial))
        assert copy == trial
        assert repr(copy) == repr(trial)
        with pytest.raises(mn.StudyError, match="has no study here: it is a copy"):
            copy.report(0, 1.0)
    assert pickle.loads(pickle.dumps(told)).values == {"loss": 0.5, "accuracy": 0.25}
