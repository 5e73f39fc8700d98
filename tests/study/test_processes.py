"""Evaluation in worker processes: what they import, who they are, and what happens when they die."""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

import modularnas as mn

FILE = pathlib.Path(__file__).with_name("evaluators.py")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="worker processes need a POSIX system")


# Every worker process imports torch, so most of these are slow.


def study(storage=None, **kwargs):
    space = mn.SearchSpace({f"d{i}": mn.choice([0, 1, 2, 3]) for i in range(5)})
    return mn.Study(space, mn.search.Random(), {"s": "max"}, storage=storage, seed=3, **kwargs)


def run(s, name, trials=10, workers=2, **kwargs):
    s.optimize(f"{FILE}:{name}", trials=trials, workers=workers, processes=True, progress=False, **kwargs)
    return s.trials


def test_processes_share_work_cores_and_devices(tmp_path):
    trials = run(study(tmp_path / "run.db"), "where", trials=20, devices=[4, "7"])
    assert [t.state for t in trials] == ["complete"] * 20
    assert all(t.values["s"] == sum(t.point.values()) for t in trials)
    pids = {t.values["pid"] for t in trials}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {t.values["device"] for t in trials} == {4.0, 7.0}
    assert {t.values["threads"] for t in trials} == {max(1, os.cpu_count() // 2)}


@pytest.mark.slow
def test_reports_and_pruning_reach_the_study():
    s = study(pruner=mn.pruners.Median(startup_trials=3))
    trials = run(s, "Reporting", trials=20)
    assert {t.state for t in trials} == {"complete", "pruned"}
    complete = next(t for t in trials if t.state == "complete")
    assert complete.reports == {step: {"s": complete.values["s"]} for step in range(4)}


@pytest.mark.slow
def test_an_exception_passes_or_is_recorded():
    with pytest.raises(KeyError, match="mine"):
        run(study(), "fail", trials=40)
    trials = run(study(), "fail", catch=KeyError)
    assert {t.point["d0"] == 1 for t in trials if t.state == "failed"} == {True}
    failed = next(t for t in trials if t.state == "failed")
    assert failed.error.startswith("KeyError: 'mine'\nTraceback")
    assert "in fail" in failed.error


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_its_trial_fails_after_some_attempts(tmp_path):
    trials = run(study(tmp_path / "run.db"), "die", trials=12, attempts=1)
    failed = [t for t in trials if t.state == "failed"]
    assert failed
    assert all(t.point["d0"] == 1 for t in failed)
    assert all(t.point["d0"] != 1 for t in trials if t.state == "complete")
    assert failed[0].error == "its worker process was killed by SIGKILL (out of memory?)"


@pytest.mark.slow
def test_a_trial_that_takes_too_long_is_ended_with_its_process():
    trials = run(study(), "hang", trials=8, workers=1, trial_timeout_s=2)
    assert {t.point["d0"] == 1 for t in trials if t.state == "failed"} == {True}
    assert "complete" in {t.state for t in trials}


@pytest.mark.slow
def test_what_cannot_be_made_is_explained():
    with pytest.raises(mn.EvaluationError, match="a worker process cannot make the evaluator: no data here"):
        run(study(), "broken")
    with pytest.raises(mn.EvaluationError, match="has no 'missing'; expected a function of a point, or an evaluator"):
        run(study(), "missing")


def test_what_processes_cannot_import_is_refused():
    s = study()

    def inside(point):
        return 1.0

    with pytest.raises(mn.StudyError, match=r"worker processes cannot import '.*inside': it is defined in a notebook"):
        s.optimize(inside, trials=1, processes=True, progress=False)
    with pytest.raises(mn.StudyError, match=r"write it|Write it into a file"):
        s.optimize(lambda point: 1.0, trials=1, processes=True, progress=False)
    with pytest.raises(mn.StudyError, match="cannot be sent to worker processes"):
        s.optimize(mn.evaluate.Function(lambda point: 1.0), trials=1, processes=True, progress=False)


@pytest.mark.slow
def test_an_object_goes_as_a_pickle_and_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import importlib.util, os, sys
            import modularnas as mn

            def here(point):
                return {{"s": float(sum(point.values())), "pid": os.getpid()}}

            if __name__ == "__main__":
                space = mn.SearchSpace({{f"d{{i}}": mn.choice([0, 1, 2, 3]) for i in range(5)}})
                study = mn.Study(space, "random", {{"s": "max"}})
                study.optimize(here, trials=4, workers=2, processes=True, progress=False)
                print({{t.values["pid"] == os.getpid() for t in study.trials}})
                sys.path.insert(0, {str(FILE.parent)!r})
                import evaluators
                study.optimize(evaluators.Reporting(steps=2), trials=6, processes=True, progress=False)
                print(len(study.trials[5].reports))
                class Mine(evaluators.Reporting):
                    pass
                try:
                    study.optimize(Mine(), trials=8, processes=True, progress=False)
                except mn.StudyError as error:
                    print("refused", "Mine" in str(error))
            """
        )
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout.splitlines() == ["{False}", "2", "refused True"]


@pytest.mark.slow
def test_killed_workers_lose_no_trial(tmp_path):
    trials = run(study(tmp_path / "run.db"), "die_once", trials=12, workers=2)
    assert [t.state for t in trials] == ["complete"] * 12
    assert all(t.values["s"] == sum(t.point.values()) for t in trials)


def test_devices_are_those_that_this_process_may_use(monkeypatch):
    from modularnas.study.processes import _visible_devices

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-7")
    assert _visible_devices() == ["2", "GPU-7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert _visible_devices() == ["0", "1", "2"]


def test_threads_take_the_devices_in_turn(monkeypatch):
    import threading

    chosen, meeting = [], threading.Barrier(4, timeout=60)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)

    def meet(point):
        meeting.wait()
        return 1.0

    study().optimize(meet, trials=8, workers=4, progress=False)
    assert sorted(chosen) == [0, 0, 1, 1]


@pytest.mark.slow
def test_a_notebook_writes_its_evaluator_into_a_file(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    cells = [
        "%%writefile mine.py\nimport os\ndef f(point):\n    return {'s': float(sum(point.values())), 'pid': os.getpid()}",
        "import os, modularnas as mn\n"
        "space = mn.SearchSpace({f'd{i}': mn.choice([0, 1, 2, 3]) for i in range(5)})\n"
        "study = mn.Study(space, 'random', {'s': 'max'}, storage='run.db')\n"
        "study.optimize('mine.py:f', trials=4, workers=2, processes=True, progress=False)\n"
        "assert all(t.state == 'complete' and t.values['pid'] != os.getpid() for t in study.trials)",
        "import mine\nstudy.optimize(mine.f, trials=6, processes=True, progress=False)\nassert len(study.trials) == 6",
        "def here(point):\n    return 1.0\n"
        "try:\n    study.optimize(here, trials=8, processes=True, progress=False)\n"
        "except mn.StudyError as error:\n    message = str(error)\n"
        "assert \"'evaluators.py:here'\" in message",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
