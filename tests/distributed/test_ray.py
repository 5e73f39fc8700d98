"""Evaluation on a real Ray cluster of this machine."""

import os
import time

import pytest

import modularnas as mn

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def study(storage=None, algorithm=None, **kwargs):
    space = mn.SearchSpace({f"d{i}": mn.choice([0, 1, 2, 3]) for i in range(5)})
    return mn.Study(space, algorithm or mn.search.Random(), {"s": "max"}, storage=storage, seed=3, **kwargs)


def optimize(s, evaluator, trials=30, workers=2, **kwargs):
    s.optimize(
        mn.distributed.Ray(evaluator, num_workers=workers, num_cpus=0.5), trials=trials, progress=False, **kwargs
    )
    return s.trials


def test_the_best_is_what_its_own_point_scores_whoever_finished_first(tmp_path):
    # The original told the last proposed parameters together with a result that had just come in.
    here = tmp_path / "here"
    here.mkdir()

    def f(point):
        # Nobody goes on before three workers are there, so that they finish in any order.
        (here / str(os.getpid())).touch()
        while len(list(here.iterdir())) < 3:
            time.sleep(0.05)
        time.sleep(0.01 * point["d0"])
        return {"s": float(sum(v * 4**i for i, v in enumerate(point.values()))), "pid": os.getpid()}

    s = study(tmp_path / "run.db", mn.search.RegularizedEvolution(population=8, sample=3))
    trials = optimize(s, f, trials=40, workers=3)
    score = lambda point: float(sum(v * 4**i for i, v in enumerate(point.values())))  # noqa: E731
    assert [t.state for t in trials] == ["complete"] * 40
    assert all(t.values["s"] == score(t.point) for t in trials)
    assert s.best_trial.values["s"] == score(s.best_trial.point) == max(score(t.point) for t in trials)
    assert len({t.values["pid"] for t in trials}) == 3
    again = study(tmp_path / "run.db", mn.search.RegularizedEvolution(population=8, sample=3))
    assert again.trials == trials


def test_actors_hold_a_supernet_that_is_shipped_once():
    import torch
    from torch import nn

    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
    supernet = mn.rewrite(model, [mn.rules.kernel_size(1, 3)], example=x).eval()

    def score(net):
        with torch.no_grad():
            return float(net(x).sum())

    evaluator = mn.evaluate.SharedWeights(supernet, score, batch_norm="none")
    there = mn.Study(supernet.space, mn.search.Random(), {"accuracy": "max"}, seed=0)
    optimize(there, evaluator, trials=8)
    here = mn.Study(supernet.space, mn.search.Random(), {"accuracy": "max"}, seed=0)
    here.optimize(evaluator, trials=8, progress=False)
    for a, b in zip(there.trials, here.trials, strict=True):
        assert a.point == b.point
        assert a.values["accuracy"] == pytest.approx(b.values["accuracy"], rel=1e-5)
        assert a.values["macs"] == b.values["macs"]


def test_an_evaluator_is_pickled_once_for_all_actors(tmp_path):
    class Heavy:
        pickled = 0

        def __getstate__(self):
            type(self).pickled += 1
            return {"folder": self.folder}

        def __init__(self, folder):
            self.folder = folder

        def evaluate(self, trials):
            (self.folder / str(os.getpid())).touch()
            while len(list(self.folder.iterdir())) < 3:
                time.sleep(0.05)
            return [1.0 for _ in trials]

    trials = optimize(study(), Heavy(tmp_path), trials=6, workers=3)
    assert [t.state for t in trials] == ["complete"] * 6
    assert Heavy.pickled == 1


def test_reports_reach_the_study_and_its_pruner():
    class Reporting:
        def evaluate(self, trials):
            return [self.one(trial) for trial in trials]

        def one(self, trial):
            for step in range(4):
                trial.report(step, sum(trial.point.values()))
                if trial.should_prune():
                    return mn.Pruned(sum(trial.point.values()))
            return sum(trial.point.values())

    s = study(pruner=mn.pruners.Median(startup_trials=3))
    trials = optimize(s, Reporting(), trials=20)
    assert {t.state for t in trials} == {"complete", "pruned"}
    complete = next(t for t in trials if t.state == "complete")
    assert complete.reports == {step: {"s": complete.values["s"]} for step in range(4)}


def test_an_exception_passes_or_is_recorded():
    def fail(point):
        if point["d0"] == 1:
            raise KeyError("mine")
        return 1.0

    with pytest.raises(KeyError, match="mine"):
        optimize(study(), fail, trials=40)
    trials = optimize(study(), fail, trials=12, catch=KeyError)
    assert {t.point["d0"] == 1 for t in trials if t.state == "failed"} == {True}


def test_an_actor_that_dies_is_replaced_and_its_trial_tried_again(tmp_path):
    marks = str(tmp_path)

    def die_once(point):
        mark = os.path.join(marks, "-".join(map(str, point.values())))
        if point["d0"] == 1 and not os.path.exists(mark):
            open(mark, "w").close()
            os._exit(1)
        return float(sum(point.values()))

    trials = optimize(study(tmp_path / "run.db"), die_once, trials=16)
    assert {t.state for t in trials} == {"complete"}

    def die(point):
        if point["d0"] == 1:
            os._exit(1)
        return 1.0

    trials = optimize(study(), die, trials=8, attempts=1)
    failed = [t for t in trials if t.state == "failed"]
    assert failed
    assert all(t.point["d0"] == 1 and t.error.startswith("its worker died: ") for t in failed)


def test_a_trial_that_takes_too_long_is_ended():
    def hang(point):
        if point["d0"] == 1:
            time.sleep(1000)
        return 1.0

    trials = optimize(study(), hang, trials=8, trial_timeout_s=3)
    assert {t.point["d0"] == 1 for t in trials if t.state == "failed"} == {True}


def test_the_cluster_says_how_many_workers_there_are():
    s = study()
    s.optimize(mn.distributed.Ray(lambda point: {"s": 1.0, "pid": os.getpid()}, num_cpus=2), trials=30, progress=False)
    assert len({t.values["pid"] for t in s.trials}) <= 2


def test_wrong_numbers_are_explained():
    with pytest.raises(mn.EvaluationError, match="num_workers is 0; expected 1 or more, or None"):
        mn.distributed.Ray(len, num_workers=0)
    with pytest.raises(mn.EvaluationError, match="num_cpus is 0 and num_gpus 0; expected 0 or more, not both 0"):
        mn.distributed.Ray(len, num_cpus=0)
