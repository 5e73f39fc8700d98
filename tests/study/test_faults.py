"""What goes wrong with a trial, a worker, a disk or a clock, and that the study goes on or says why not."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing

import pytest
import torch

import modularnas as mn
from modularnas.cli import main


def study(storage=None, seed=3, **kwargs):
    space = mn.SearchSpace({f"d{i}": mn.choice([0, 1, 2, 3]) for i in range(5)})
    algorithm = mn.search.RegularizedEvolution(population=8, sample=3)
    return mn.Study(space, algorithm, {"s": "max"}, storage=storage, seed=seed, **kwargs)


def total(point):
    return float(sum(point.values()))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no room"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_fails_a_trial_and_not_the_study(error):
    def f(point):
        if point["d0"] == 1:
            raise error
        return total(point)

    s = study()
    s.optimize(f, trials=20, progress=False)
    failed = [t for t in s.trials if t.state == "failed"]
    assert failed
    assert all(t.point["d0"] == 1 for t in failed)
    assert failed[0].error.startswith(f"{type(error).__name__}: {error}")
    assert "Traceback" in failed[0].error


def test_of_a_batch_only_the_culprit_fails():
    class Batch:
        def evaluate(self, trials):
            if any(t.point["d0"] == 1 for t in trials):
                raise ValueError("no")
            return [total(t.point) for t in trials]

    s = study()
    s.optimize(Batch(), trials=40, batch=10, catch=ValueError, progress=False)
    assert {t.state == "failed" for t in s.trials if t.point["d0"] == 1} == {True}
    assert {t.state == "failed" for t in s.trials if t.point["d0"] != 1} == {False}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_trial_that_takes_too_long_is_interrupted(workers):
    def f(point):
        while point["d0"] == 1:
            time.sleep(0.01)
        return total(point)

    s = study()
    s.optimize(f, trials=12, workers=workers, trial_timeout_s=0.3, progress=False)
    assert {t.point["d0"] == 1 for t in s.trials if t.state == "failed"} == {True}
    assert {t.point["d0"] == 1 for t in s.trials if t.state == "complete"} == {False}
    assert {t.error for t in s.trials if t.error} == {"the evaluation took longer than trial_timeout_s=0.3"}


def test_a_trial_is_tried_as_often_as_was_said():
    calls = []

    def f(point):
        calls.append(point)
        if len(calls) < 3:
            raise ValueError("not yet")
        return 1.0

    s = study()
    s.optimize(f, trials=1, attempts=3, catch=ValueError, progress=False)
    assert (len(calls), s.trials[0].state) == (3, "complete")
    calls.clear()
    s = study()
    s.optimize(f, trials=1, attempts=2, catch=ValueError, progress=False)
    assert (len(calls), s.trials[0].state) == (2, "failed")
    with pytest.raises(mn.StudyError, match="attempts is 0; expected 1 or more"):
        s.optimize(f, trials=2, attempts=0, progress=False)
    with pytest.raises(mn.StudyError, match="trial_timeout_s is -1; expected more than 0"):
        s.optimize(f, trials=2, trial_timeout_s=-1, progress=False)


WAITING = textwrap.dedent(
    """
    import os, pathlib, time
    def wait(point):
        folder = pathlib.Path(os.environ["FOLDER"])
        (folder / ("begun-" + "-".join(map(str, point.values())))).touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        time.sleep(0.2)  # longer than a signal may go unnoticed between two trials
        return float(sum(point.values()))
    """
)
LOOP = textwrap.dedent(
    """
    import os, signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
    import modularnas as mn
    space = mn.SearchSpace({f"d{i}": mn.choice([0, 1, 2, 3]) for i in range(5)})
    algorithm = mn.search.RegularizedEvolution(population=8, sample=3)
    study = mn.Study(space, algorithm, {"s": "max"}, storage=sys.argv[1], seed=3)
    path, workers = os.environ["FOLDER"] + "/waiting.py:wait", int(sys.argv[3])
    if sys.argv[2] == "threads":
        from modularnas.study.worker import load
        evaluator, how = load(path), {"workers": workers}
    elif sys.argv[2] == "processes":
        evaluator, how = path, {"workers": workers, "processes": True}
    else:
        import ray
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
        evaluator, how = mn.distributed.Ray(path, num_workers=workers), {}
    try:
        study.optimize(evaluator, trials=1000, **how)
    except KeyboardInterrupt:
        print("interrupted", [t.state for t in study.trials].count("complete"))
    """
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize(("kind", "workers"), [("threads", 1), ("threads", 2), ("processes", 2), ("ray", 2)])
def test_one_ctrl_c_waits_for_the_running_trials_and_two_do_not(tmp_path, kind, workers, signals):
    if kind == "ray":
        pytest.importorskip("ray", reason='needs Ray: pip install "modularnas[ray]"')
    (tmp_path / "waiting.py").write_text(WAITING)
    environment = dict(os.environ, FOLDER=str(tmp_path), RAY_raylet_start_wait_time_s="300", RAY_worker_niceness="0")
    process = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(tmp_path / "run.db"), kind, str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    while len(list(tmp_path.glob("begun-*"))) < workers:
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = b""
    while b"Ctrl-C: finishing the running trials; again to stop at once" not in said:
        letter = process.stderr.read(1)
        assert letter, said.decode()
        said += letter
    if signals == 1:
        (tmp_path / "go").touch()
    else:
        process.send_signal(signal.SIGINT)
    out, errors = process.communicate()
    assert b"Traceback" not in errors, errors.decode()
    ((word, ended),) = [line.split() for line in out.decode().splitlines()]
    # A thread that was free at that moment may have begun one more.
    at_most = 2 * workers if kind == "threads" else workers
    assert word == "interrupted"
    assert int(ended) == 0 if signals == 2 else workers <= int(ended) <= at_most
    again = study(tmp_path / "run.db")
    assert [t.state for t in again.trials].count("complete") == int(ended)
    if signals == 2:
        assert [t.number for t in again.ask(workers)] == list(range(workers))


def test_a_handler_of_the_user_is_left_alone():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        study().optimize(lambda point: os.kill(os.getpid(), signal.SIGINT) or 1.0, trials=2, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1, 1]


def test_ctrl_c_is_pythons_own_again_afterwards():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        s = study()
        with pytest.raises(KeyboardInterrupt):
            s.optimize(lambda point: os.kill(os.getpid(), signal.SIGINT) or 1.0, trials=100, progress=False)
        assert [t.state for t in s.trials].count("complete") >= 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        s.optimize(total, trials=5, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_damaged_file_is_found_and_repaired(tmp_path, capsys):
    file = tmp_path / "run.db"
    s = study(file)
    s.optimize(total, trials=300, batch=50, progress=False)
    points = {t.point for t in s.trials}
    del s
    content = bytearray(file.read_bytes())
    middle = len(content) // 4096 // 2 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    file.write_bytes(content)
    with pytest.raises(mn.StorageError, match=f"keep what is readable by .modularnas repair {file}"):
        study(file)
    assert main(["repair", str(file)]) == 0
    assert f"{file}: " in capsys.readouterr().out
    again = study(file)
    assert {t.point for t in again.trials} <= points
    assert 150 <= len(again.trials) < 300
    again.optimize(total, trials=310, progress=False)
    assert [t.number for t in again.trials] == list(range(310))
    assert main(["repair", str(tmp_path / "none.db")]) == 1
    assert "cannot be repaired: it does not exist" in capsys.readouterr().err


def test_an_outcome_that_was_changed_by_hand_is_found(tmp_path):
    file = tmp_path / "run.db"
    s = study(file)
    s.optimize(total, trials=6, progress=False)
    del s
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE trials SET metrics = '{\"s\": 99.0}' WHERE number = 2")
        db.commit()
    with pytest.raises(mn.StorageError, match="trial 2 is not what was told"):
        study(file)


def test_costs_of_the_space_are_part_of_the_study(tmp_path):
    space = mn.SearchSpace({"a": mn.choice([1, 2, 3]), "b": mn.choice([1, 2, 3])})
    costly = space.with_cost("macs", {"a": {1: 1, 2: 2, 3: 3}, "b": {1: 1, 2: 2, 3: 3}})
    file, limits = tmp_path / "run.db", {"macs": (None, 4)}

    def open_with(given):
        return mn.Study(given, mn.search.Random(), {"s": "max"}, limits, storage=file, seed=0)

    open_with(costly)
    open_with(costly)
    with pytest.raises(
        mn.StudyError, match=r"costs of the space that constraints draw from: macs \(\w+\) in the file, none"
    ):
        open_with(space)


CONDITIONS = [
    ({"trials": 7}, "trials", lambda s: len(s.trials) == 7),
    ({"target": 14.0}, "target", lambda s: s.best_trial.values["s"] >= 14),
    ({"target": {"s": 14.0}, "trials": 5000}, "target", lambda s: s.best_trial.values["s"] >= 14),
    ({"plateau": 30}, "plateau", lambda s: len(s.trials) == s.best_trial.number + 31),
    ({"budget": {"s": 100.0}}, "budget", lambda s: 100 <= sum(t.values["s"] for t in s.trials) < 116),
    ({"timeout_s": 0.05}, "timeout", lambda s: len(s.trials) > 0),
]


@pytest.mark.parametrize(("stop", "reason", "holds"), CONDITIONS, ids=[c[1] + str(i) for i, c in enumerate(CONDITIONS)])
def test_conditions_to_stop(stop, reason, holds):
    s = study()
    s.optimize(total, progress=False, **stop)
    assert s.stopped == reason
    assert holds(s)


def test_an_exhausted_space_ends_a_run():
    s = mn.Study(mn.SearchSpace({"a": mn.choice([1, 2, 3])}), mn.search.Grid(), {"s": "max"})
    s.optimize(total, trials=100, progress=False)
    assert (s.stopped, len(s.trials)) == ("exhausted", 3)


def test_wrong_conditions_are_explained():
    s = study()
    for stop, message in (
        ({}, "the run has no end; give trials, timeout_s, target, plateau or budget"),
        ({"target": {"x": 1}}, "target 'x' is none of the objectives"),
        ({"plateau": 0}, "plateau is 0; expected 1 or more"),
        ({"budget": {"gpu_h": -1}}, "budget 'gpu_h' is -1; expected more than 0"),
    ):
        with pytest.raises(mn.StudyError) as error:
            s.optimize(total, progress=False, **stop)
        assert str(error.value) == message
    both = mn.Study(s.space, mn.search.Random(), {"a": "max", "b": "min"})
    with pytest.raises(mn.StudyError, match=r"target is 3 in a study with several objectives \(a, b\); give a dict"):
        both.optimize(total, target=3, progress=False)


def test_the_cores_of_torch_are_shared_out_among_threads():
    torch.set_num_threads(4)
    try:
        seen, lock = set(), threading.Lock()

        def f(point):
            with lock:
                seen.add(torch.get_num_threads())
            return 1.0

        study().optimize(f, trials=8, workers=2, progress=False)
        assert seen == {2}
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(1)
