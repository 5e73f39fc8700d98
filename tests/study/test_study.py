"""The loop and its memory: resume, faults, files, several workers."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest
import torch

import modularnas as mn


def space():
    return mn.SearchSpace({f"d{i}": mn.choice(list(range(4))) for i in range(5)})


def measure(point):
    return float(sum(v == i % 4 for i, v in enumerate(point.values())))


def study(storage=None, seed=3, objectives=None, algorithm=None, where=None, **kwargs):
    algorithm = algorithm or mn.search.RegularizedEvolution(population=8, sample=3)
    return mn.Study(where or space(), algorithm, objectives or {"s": "max"}, storage=storage, seed=seed, **kwargs)


def test_cut_at_every_trial_and_resumed_equals_the_whole(tmp_path):
    whole = study()
    whole.optimize(measure, trials=24, progress=False)
    for cut in range(1, 24):
        file = tmp_path / f"{cut}.db"
        study(file).optimize(measure, trials=cut, progress=False)
        resumed = study(file)
        assert len(resumed.trials) == cut
        resumed.optimize(measure, trials=24, progress=False)
        assert [t.point for t in resumed.trials] == [t.point for t in whole.trials]


def test_an_exception_passes_with_its_traceback_and_nothing_is_lost(tmp_path):
    count = iter(range(100))

    def fail_at_five(point):
        if next(count) == 5:
            raise KeyError("mine")
        return 1.0

    with pytest.raises(KeyError, match="mine") as error:
        study(tmp_path / "s.db").optimize(fail_at_five, trials=9, progress=False)
    assert error.traceback[-1].name == "fail_at_five"
    resumed = study(tmp_path / "s.db")
    assert [t.state for t in resumed.trials].count("complete") == 5
    resumed.optimize(measure, trials=9, progress=False)
    assert [t.number for t in resumed.trials] == list(range(9))


def test_exceptions_can_be_recorded():
    def fail(point):
        raise ValueError("no such net")

    s = study()
    s.optimize(fail, trials=3, progress=False, catch=ValueError)
    assert [t.state for t in s.trials] == ["failed"] * 3
    assert s.trials[0].error.startswith("ValueError: no such net")
    assert "Traceback" in s.trials[0].error
    with pytest.raises(mn.StudyError, match="no complete trial yet"):
        s.best_trial  # noqa: B018


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (float("nan"), "failed"),
        (float("inf"), "failed"),
        ({"other": 1.0}, "failed"),
        (mn.Failed("no"), "failed"),
        (mn.Pruned({"s": 1.0}), "pruned"),
        (torch.tensor(2.0), "complete"),
        ({"s": 1, "more": 2.5}, "complete"),
    ],
)
def test_results_of_every_kind(result, state):
    s = study()
    s.optimize(lambda point: result, trials=1, progress=False)
    assert s.trials[0].state == state
    assert bool(s.trials[0].error) == (state == "failed")


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "trial 0 returned None; expected a number, a dict with 's', mn.Failed(reason) or mn.Pruned(values)"),
        (
            "x",
            "trial 0 returned a str ('x'); expected a number, a dict with 's', mn.Failed(reason) or mn.Pruned(values)",
        ),
        ({"s": "x"}, "trial 0 returned a str ('x') for metric 's'; expected a number"),
    ],
)  # fmt: skip
def test_wrong_results_are_explained(result, message):
    with pytest.raises(mn.EvaluationError) as error:
        study().optimize(lambda point: result, trials=1, progress=False)
    assert str(error.value) == message


def test_wrong_arguments_are_explained(tmp_path):
    with pytest.raises(mn.StudyError, match="trials is 0; expected 1 or more"):
        study().optimize(measure, trials=0, progress=False)
    with pytest.raises(mn.StudyError, match="workers is 0; expected 1 or more"):
        study().optimize(measure, trials=1, workers=0, progress=False)
    with pytest.raises(mn.StudyError, match="objective 's' is a str"):
        study(objectives={"s": "up"})
    with pytest.raises(mn.EvaluationError, match="the evaluator is an int"):
        study().optimize(3, trials=1, progress=False)
    with pytest.raises(mn.StudyError, match="the algorithm is"):
        study(algorithm=7)
    with pytest.raises(mn.StorageError):
        study(tmp_path / "missing" / "s.db")
    (tmp_path / "text.db").write_text("not a database, but long enough to be read as a header of one " * 20)
    with pytest.raises(mn.StorageError, match=r"text\.db"):
        study(tmp_path / "text.db")


def test_another_study_in_the_file_is_refused_with_the_difference(tmp_path):
    file = tmp_path / "s.db"
    study(file).optimize(measure, trials=2, progress=False)
    with pytest.raises(mn.StudyError, match="seed: 3 in the file, 4 given"):
        study(file, seed=4)
    with pytest.raises(mn.StudyError, match="'s'"):
        study(file, objectives={"s": "min"})
    with pytest.raises(mn.StudyError, match="regularized_evolution"):
        study(file, algorithm=mn.search.Random())
    with pytest.raises(mn.StudyError, match="decision 'd4'"):
        study(file, where=mn.SearchSpace({f"d{i}": mn.choice(list(range(4))) for i in range(4)}))


def test_a_running_study_can_be_read(tmp_path):
    file, seen = tmp_path / "s.db", []
    s = study(file)

    def look(point):
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
            seen.append(
                (len(s.trials), db.execute("SELECT count(*) FROM trials WHERE state = 'complete'").fetchone()[0])
            )
        db.close()
        return 1.0

    s.optimize(look, trials=4, progress=False)
    assert seen == [(1, 0), (2, 1), (3, 2), (4, 3)]


def test_callbacks_come_after_the_trial_is_durable(tmp_path):
    file, told = tmp_path / "s.db", []

    def callback(trial):
        told.append((trial.number, study(file).trials[trial.number].state))

    study(file).optimize(measure, trials=3, progress=False, callbacks=[callback])
    assert told == [(0, "complete"), (1, "complete"), (2, "complete")]


def test_workers_and_batches_finish_every_trial_once():
    for kwargs in ({"workers": 4}, {"batch": 5}, {"workers": 2, "batch": 3}):
        s = study()
        s.optimize(measure, trials=40, progress=False, **kwargs)
        assert [t.number for t in s.trials] == list(range(40))
        assert {t.state for t in s.trials} == {"complete"}


def test_by_hand_equals_the_loop():
    loop, hand = study(), study()
    loop.optimize(measure, trials=15, progress=False)
    (trial,) = hand.ask()
    while len(hand.trials) < 15:
        (trial,) = hand.tell_and_ask({trial: measure(trial.point)})
    hand.tell(trial, measure(trial.point))
    assert [t.point for t in hand.trials] == [t.point for t in loop.trials]
    with pytest.raises(mn.StudyError):
        hand.tell(trial, 1.0)


def test_the_front_is_what_nobody_dominates_within_the_constraints():
    s = study(objectives={"a": "max", "b": "min"}, constraints={"c": (None, 6)}, algorithm=mn.search.Random())
    s.optimize(
        lambda p: {"a": p["d0"] + p["d1"], "b": p["d1"] * p["d2"], "c": p["d3"] + p["d4"]}, trials=60, progress=False
    )
    feasible = [t for t in s.trials if t.values["c"] <= 6]

    def beats(x, y):
        (a, b), (c, d) = ((t.values["a"], -t.values["b"]) for t in (x, y))
        return a >= c and b >= d and (a, b) != (c, d)

    expected = [t.number for t in feasible if not any(beats(o, t) for o in feasible)]
    assert [t.number for t in s.pareto_front] == expected
    with pytest.raises(mn.StudyError, match="several objectives"):
        s.best_trial  # noqa: B018
    assert "<table>" in s._repr_html_()
    assert list(s.to_pandas()["number"]) == list(range(60))


LOOP = textwrap.dedent(
    """
    import signal, sys, time
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    import modularnas as mn
    space = mn.SearchSpace({f"d{i}": mn.choice(list(range(4))) for i in range(5)})
    algorithm = mn.search.RegularizedEvolution(population=8, sample=3)
    study = mn.Study(space, algorithm, {"s": "max"}, storage=sys.argv[1], seed=3)
    def measure(point):
        time.sleep(0.005)
        return float(sum(v == i % 4 for i, v in enumerate(point.values())))
    study.optimize(measure, trials=int(sys.argv[2]), progress=False, callbacks=[lambda t: print(t.number, flush=True)])
    """
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_process_loses_nothing(tmp_path, kind):
    file = str(tmp_path / "s.db")
    for stop_at in (3, 17):
        process = subprocess.Popen(
            [sys.executable, "-c", LOOP, file, "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        told = [int(process.stdout.readline()) for _ in range(stop_at)]
        os.kill(process.pid, kind)
        rest, errors = process.communicate(timeout=60)
        told += [int(line) for line in rest.split()]
        if kind == signal.SIGINT:
            assert "KeyboardInterrupt" in errors
        assert set(told) <= {t.number for t in study(file).trials if t.state == "complete"}
    resumed, whole = study(file), study()
    resumed.optimize(measure, trials=60, progress=False)
    whole.optimize(measure, trials=60, progress=False)
    assert [t.point for t in resumed.trials] == [t.point for t in whole.trials]
