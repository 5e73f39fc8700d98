"""Several workers, several processes, and interruptions."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import modularnas as mn

SETUP = textwrap.dedent(
    """
    import sys, threading, time
    import modularnas as mn
    space = mn.SearchSpace({f"d{i}": mn.choice([0, 1, 2, 3]) for i in range(5)})
    algorithm = mn.search.RegularizedEvolution(population=8, sample=3)
    study = mn.Study(space, algorithm, {"s": "max"}, storage=sys.argv[1], seed=3)
    def total(point):
        return float(sum(point.values()))
    """
)


def start(code, *arguments):
    command = [sys.executable, "-c", SETUP + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def study(storage=None):
    space = mn.SearchSpace({f"d{i}": mn.choice([0, 1, 2, 3]) for i in range(5)})
    algorithm = mn.search.RegularizedEvolution(population=8, sample=3)
    return mn.Study(space, algorithm, {"s": "max"}, storage=storage, seed=3)


def total(point):
    return float(sum(point.values()))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_in_another_process(tmp_path):
    other = start("study.optimize(total, trials=40, progress=False)", tmp_path / "run.db")
    _, errors = other.communicate(timeout=60)
    assert not errors
    here = study()
    here.optimize(total, trials=40, progress=False)
    assert [t.point for t in study(tmp_path / "run.db").trials] == [t.point for t in here.trials]


@pytest.mark.slow
def test_processes_share_a_file_and_double_nothing(tmp_path):
    file = tmp_path / "run.db"
    processes = [start("study.optimize(total, trials=90, progress=False)", file) for _ in range(3)]
    for process in processes:
        assert process.communicate(timeout=120) == ("", "")
    trials = study(file).trials
    assert [t.number for t in trials] == list(range(len(trials)))
    assert {t.state for t in trials} == {"complete"}
    assert 90 <= len(trials) <= 92


@pytest.mark.slow
def test_the_trial_of_a_killed_process_is_handed_out_again(tmp_path):
    file = tmp_path / "run.db"
    here = study(file)
    other = start("print(*[t.number for t in study.ask(2)], flush=True); time.sleep(60)", file)
    assert other.stdout.readline() == "0 1\n"
    assert [t.number for t in here.ask(1)] == [2]
    points = [t.point for t in here.trials]
    other.kill()
    other.communicate()
    time.sleep(1.1)  # who was alive is remembered for a second
    again = here.ask(3)
    assert [t.number for t in again] == [0, 1, 3]
    assert [t.point for t in again[:2]] == points[:2]


def test_a_study_that_goes_away_gives_its_trials_back(tmp_path):
    first = study(tmp_path / "run.db")
    asked = [t.number for t in first.ask(2)]
    second = study(tmp_path / "run.db")
    assert [t.number for t in second.ask(1)] == [2]
    del first
    assert [t.number for t in second.ask(2)] == asked


def test_an_error_of_one_worker_stops_all_and_passes():
    s, lock, calls = study(), threading.Lock(), []

    def fail(point):
        with lock:
            calls.append(point)
            n = len(calls)
        if n == 10:
            raise KeyError("mine")
        time.sleep(0.002)
        return 1.0

    with pytest.raises(KeyError, match="mine"):
        s.optimize(fail, trials=1000, workers=4, progress=False)
    states = [t.state for t in s.trials]
    assert 9 <= states.count("complete") < 100
    assert states.count("running") == 1
    assert s.ask()[0].number == states.index("running")


def test_workers_really_run_at_once():
    meeting = threading.Barrier(4, timeout=20)

    def meet(point):
        meeting.wait()
        return 1.0

    study().optimize(meet, trials=4, workers=4, progress=False)


def test_a_study_can_be_used_from_several_threads_and_read_while_it_runs(tmp_path):
    for storage in (None, tmp_path / "run.db"):
        s = study(storage)

        def look(point, s=s):
            assert any(t.state == "running" for t in s.trials)
            return float(len(s.pareto_front))

        threads = [threading.Thread(target=s.optimize, args=(look, 20), kwargs={"progress": False}) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert 20 <= sum(t.state == "complete" for t in s.trials) <= 22


def test_callbacks_are_called_one_after_the_other():
    inside = []

    def look(trial):
        inside.append(trial.number)
        assert len(inside) == 1
        time.sleep(0.002)
        inside.clear()

    s = study()
    s.optimize(total, trials=40, workers=4, progress=False, callbacks=[look])
    assert s.stopped == "trials"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_ctrl_c_raises_keyboard_interrupt_and_loses_nothing(tmp_path, workers):
    file = tmp_path / "run.db"
    # A process started in the background of a shell ignores SIGINT, and so do its children.
    code = """
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def slow(point):
            time.sleep(0.05)
            return total(point)
        try:
            study.optimize(slow, trials=1000, workers=int(sys.argv[2]), progress=False,
                           callbacks=[lambda t: print(t.number, flush=True)])
        except KeyboardInterrupt:
            print("interrupted")
    """
    process = start(code, file, workers)
    told = [int(process.stdout.readline()) for _ in range(5)]
    os.kill(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert not errors
    *rest, last = rest.split()
    assert last == "interrupted"
    told += map(int, rest)
    trials = study(file).trials
    assert [t.number for t in trials if t.state == "complete"] == sorted(told)
    assert sum(t.state == "running" for t in trials) <= workers


def test_a_callback_that_raises_ends_the_run_after_its_trial(tmp_path):
    s = study(tmp_path / "run.db")

    def stop(trial):
        if trial.number == 4:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        s.optimize(total, trials=100, progress=False, callbacks=[stop])
    assert [t.state for t in study(tmp_path / "run.db").trials] == ["complete"] * 5 + ["running"]
    assert [t.number for t in s.ask()] == [5]


def test_time_ends_a_run():
    s = study()
    started = time.monotonic()
    s.optimize(lambda point: time.sleep(0.01) or 1.0, trials=10_000, timeout_s=0.2, progress=False)
    assert time.monotonic() - started < 5
    assert {t.state for t in s.trials} == {"complete"}
    with pytest.raises(mn.StudyError, match="timeout_s is 0; expected more than 0 seconds, or None for no limit"):
        s.optimize(total, trials=1, timeout_s=0, progress=False)
