"""The file of a study: what it refuses, what it survives, and who may use it at once."""

import contextlib
import importlib.util
import os
import pathlib
import pickle
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from contextlib import closing

import pytest

import modularnas as mn
from modularnas.cli import main


def digits(n=5):
    return mn.SearchSpace({f"d{i}": mn.choice([0, 1, 2, 3]) for i in range(n)})


def study(storage, space=None, algorithm=None, objectives=None, seed=3, **kwargs):
    algorithm = algorithm or mn.search.RegularizedEvolution(population=8, sample=3)
    return mn.Study(space or digits(), algorithm, objectives or {"s": "max"}, storage=storage, seed=seed, **kwargs)


def total(point):
    return float(sum(point.values()))


def refusal(error, storage, **kwargs):
    with pytest.raises(error) as raised:
        study(storage, **kwargs)
    return str(raised.value)


def test_files_of_others_are_refused_and_left_as_they_are(tmp_path):
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    before = foreign.read_bytes()
    assert refusal(mn.StorageError, foreign) == (
        f"'{foreign}' is an SQLite database of another program; give another storage"
    )
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to hold the header of one\n" * 20)
    assert refusal(mn.StorageError, text) == (
        f"'{text}' is not the file of a study (it is no SQLite database); give another storage"
    )
    assert "not a database" in text.read_text()
    with sqlite3.connect(foreign) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    db.close()
    assert len(foreign.read_bytes()) == len(before)


def test_a_newer_layout_is_refused(tmp_path):
    file = tmp_path / "run.db"
    study(file)
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert refusal(mn.StorageError, file) == (
        f"'{file}' was written by a newer modularnas (file layout 99; this one reads up to 2); update modularnas, or "
        "give another storage"
    )


def test_paths_that_cannot_be_files_are_explained(tmp_path):
    assert refusal(mn.StorageError, tmp_path) == (
        f"storage '{tmp_path}' is a folder; give the path of a file, such as '{tmp_path / 'study.db'}'"
    )
    missing = tmp_path / "missing" / "run.db"
    assert refusal(mn.StorageError, missing) == (
        f"the folder '{missing.parent}' of storage '{missing}' does not exist; create it or give another path"
    )
    assert refusal(mn.StorageError, ":memory:") == (
        "storage is ':memory:'; expected the path of a file, or None to keep the study in memory"
    )


@pytest.fixture
def folder():
    """One that every user can reach, to be used as somebody who is not allowed everything."""
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name)
        path.chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield path
        finally:
            if root:
                os.seteuid(0)
            path.chmod(0o777)


@pytest.mark.skipif(os.name != "posix", reason="needs the permissions of POSIX")
def test_a_read_only_folder_is_explained(folder):
    inside = folder / "inside"
    inside.mkdir(mode=0o500)
    message = refusal(mn.StorageError, inside / "run.db")
    assert message.startswith(f"cannot write '{inside / 'run.db'}'")
    assert message.endswith("make the file and its folder writable, or give another storage")


@pytest.mark.skipif(os.name != "posix", reason="needs the permissions of POSIX")
def test_a_file_that_became_read_only_is_an_error_and_keeps_its_trials(folder):
    inside = folder / "inside"
    inside.mkdir()
    file = inside / "run.db"
    s = study(file)
    s.optimize(total, trials=4, progress=False)
    del s
    for part, mode in ((file, 0o400), (inside, 0o500)):
        part.chmod(mode)
        message = refusal(mn.StorageError, file)
        assert message.startswith(f"cannot write '{file}'")
        assert message.endswith("make the file and its folder writable, or give another storage")
    inside.chmod(0o700)
    file.chmod(0o600)
    again, whole = study(file), study(None)
    assert [t.state for t in again.trials] == ["complete"] * 4
    again.optimize(total, trials=9, progress=False)
    whole.optimize(total, trials=9, progress=False)
    assert [t.point for t in again.trials] == [t.point for t in whole.trials]


def test_the_refusal_of_another_study_names_every_difference(tmp_path):
    file = tmp_path / "run.db"
    study(file, constraints={"macs": (None, 3e8)})
    other = mn.SearchSpace({"d0": mn.choice([0, 1]), "lr": mn.real(1e-4, 1e-1, log=True)})
    message = refusal(
        mn.StudyError,
        file,
        space=other,
        algorithm=mn.search.RegularizedEvolution(population=9, sample=3),
        objectives={"s": "min"},
        seed=4,
    )
    lines = message.splitlines()
    assert lines[0] == f"'{file}' holds another study:"
    assert lines[1].startswith("  decision 'd0': ")
    assert [line.split(":")[0] for line in lines[2:7]] == [
        "  decision 'd1'",
        "  decision 'd2'",
        "  decision 'd3'",
        "  decision 'd4'",
        "  decision 'lr'",
    ]
    assert lines[7:] == [
        "  objective 's': max in the file, min given",
        "  constraint 'macs': (None, 300000000.0) in the file, not given",
        "  setting of search algorithm 'regularized_evolution' 'population': 8 in the file, 9 given",
        "  seed: 3 in the file, 4 given",
        "give what is in the file to continue it, or another storage to start anew",
    ]


def test_an_infinite_bound_is_no_bound(tmp_path):
    file = tmp_path / "run.db"
    study(file, constraints={"macs": (float("-inf"), 3e8)})
    study(file, constraints={"macs": (None, 3e8)})


def test_real_values_and_metrics_come_back_to_the_last_bit(tmp_path):
    space = mn.SearchSpace({"x": mn.real(0.1, 0.7), "lr": mn.real(1e-9, 1e9, log=True)})
    first = study(tmp_path / "run.db", space=space)
    first.optimize(lambda p: {"s": p["x"] / 3, "again": p["lr"] / 7}, trials=40, progress=False)
    again = study(tmp_path / "run.db", space=space)
    assert [(t.point, t.values) for t in again.trials] == [(t.point, t.values) for t in first.trials]
    assert list(again.trials[0].values) == ["s", "again"]


def test_the_file_reads_without_this_library(tmp_path):
    file = tmp_path / "run.db"
    study(file).optimize(lambda p: {"s": total(p), "more": 1}, trials=3, progress=False)
    with sqlite3.connect(file) as db:
        rows = db.execute(
            "SELECT number, json_extract(point, '$.d0'), json_extract(metrics, '$.more'), state, finished >= started "
            "FROM trials ORDER BY number"
        ).fetchall()
        (seed,) = db.execute("SELECT value FROM study WHERE key = 'seed'").fetchone()
    db.close()
    points = [t.point["d0"] for t in study(file).trials]
    assert rows == [(i, point, 1.0, "complete", 1) for i, point in enumerate(points)]
    assert seed == "3"


def test_a_file_removed_under_way_is_an_error(tmp_path):
    file = tmp_path / "run.db"
    s = study(file)

    def remove(point):
        if len(s.trials) == 3:
            file.unlink()
        return 1.0

    with pytest.raises(mn.StorageError, match="was removed or replaced while the study was using it"):
        s.optimize(remove, trials=9, progress=False)
    assert [t.state for t in s.trials] == ["complete", "complete", "running"]


@pytest.fixture
def soak():
    """The long tests, of which short forms are run here."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("needs Linux and a C compiler, for a library that stands before the C library")
    spec = importlib.util.spec_from_file_location("soak", pathlib.Path(__file__).with_name("soak.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_full_disk_a_failing_disk_and_kills_within_a_write(tmp_path, capfd, soak):
    assert soak.faults(tmp_path, trials=4, every=6)
    killed, full, failing = capfd.readouterr().out.splitlines()
    assert "0 trials lost, 0 continued runs differ" in killed
    assert "no space left for 'FILE'; every trial told before is in the file: free some space" in full
    assert "cannot use 'FILE': disk I/O error" in failing


@pytest.mark.slow
def test_a_clock_that_jumps_back_changes_nothing(tmp_path, soak):
    code = """
import ctypes, sys, time, soak
clock = ctypes.CDLL(None)
run, before = soak.study(sys.argv[1]), time.time()
run.optimize(soak.total, trials=30, progress=False)
(waiting,) = run.ask()
clock.shift_clock(-10_000_000)
assert time.time() < before - 9_000_000
other = soak.study(sys.argv[1])
assert [t.number for t in other.ask()] == [31], "the other's trial is not taken for a dead one's"
del other
run.tell(waiting, soak.total(waiting.point))
run.optimize(soak.total, trials=60, progress=False, timeout_s=1000)
assert run.stopped == "trials", run.stopped
"""
    file = tmp_path / "run.db"
    subprocess.run([sys.executable, "-c", code, file], env=soak.faulty(tmp_path), check=True)
    whole = soak.study()
    whole.optimize(soak.total, trials=60, progress=False)
    again = soak.study(file)
    assert [t.number for t in again.trials] == list(range(60))
    assert [t.point for t in again.trials[:31]] == [t.point for t in whole.trials[:31]]
    with closing(sqlite3.connect(file)) as db:
        ((jumped,),) = db.execute("SELECT max(started) - min(started) FROM trials").fetchall()
    assert jumped > 9_000_000


@pytest.mark.slow
def test_after_a_write_that_failed_a_study_says_so_until_it_is_opened_again(tmp_path):
    code = textwrap.dedent(
        """
        import resource, sys
        import modularnas as mn
        space = mn.SearchSpace({f"d{i}": mn.choice([0, 1, 2, 3]) for i in range(5)})
        algorithm = mn.search.RegularizedEvolution(population=8, sample=3)
        study = mn.Study(space, algorithm, {"s": "max"}, storage=sys.argv[1], seed=3)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        told = []
        try:
            study.optimize(lambda p: float(sum(p.values())), trials=5000, progress=False, callbacks=[told.append])
        except mn.StorageError as error:
            first = str(error)
            try:
                study.ask()
            except mn.StorageError as error:
                print(len(told), first, str(error), sep="|")
        """
    )
    file = tmp_path / "run.db"
    ran = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    told, first, later = ran.stdout.strip().split("|")
    assert str(file) in first
    assert later.startswith(f"the study on '{file}' cannot go on after an earlier error")
    assert later.endswith("every trial told before it is in the file: open the study again")
    s = study(file)
    finished = [t.number for t in s.trials if t.state == "complete"]
    # The last commit may have reached the log although it was reported as failed.
    assert len(finished) - int(told) in (0, 1)
    s.optimize(total, trials=len(finished) + 5, progress=False)
    whole = study(None)
    whole.optimize(total, trials=len(finished) + 5, progress=False)
    assert [t.point for t in s.trials] == [t.point for t in whole.trials]


def test_a_log_cut_at_any_length_loses_only_what_was_not_committed(tmp_path):
    file, torn = tmp_path / "run.db", tmp_path / "torn.db"
    s = study(file)
    s.optimize(total, trials=12, progress=False)
    points = [t.point for t in s.trials]
    log = file.with_name("run.db-wal").read_bytes()
    shutil.copy(file, torn)
    seen = set()
    for length in range(len(log), 0, -997):
        torn.with_name("torn.db-wal").write_bytes(log[:length])
        # Its index is of the whole log; a crash of the machine would have lost it.
        torn.with_name("torn.db-shm").unlink(missing_ok=True)
        shutil.copy(file, torn)
        cut = [t.point for t in study(torn).trials if t.state == "complete"]
        assert cut == points[: len(cut)]
        seen.add(len(cut))
    assert seen >= set(range(1, 13))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told_to_open_the_study_itself(tmp_path):
    s = study(tmp_path / "run.db")
    s.optimize(total, trials=3, progress=False)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            s.ask()
            os.write(write, b"no error")
        except mn.StudyError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1000).decode() == (
        f"the study on '{tmp_path / 'run.db'}' was opened by the process that this one was forked from; open it here "
        "as well"
    )
    os.close(read)
    os.close(write)
    s.optimize(total, trials=6, progress=False)
    assert len(study(tmp_path / "run.db").trials) == 6


def test_the_database_of_another_program_is_refused_and_left_as_it_was(tmp_path):
    file = tmp_path / "theirs.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE theirs (a)")
        db.commit()
    before = file.read_bytes()
    space = mn.SearchSpace({"a": mn.choice([1, 2])})
    with pytest.raises(mn.StorageError, match="is an SQLite database of another program; give another storage"):
        mn.Study(space, mn.search.Random(), {"s": "max"}, storage=file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.db"]


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return pathlib.Path.touch, (self.mark,)


def test_the_file_of_a_stranger_runs_no_code(tmp_path, capsys):
    mark, whole = tmp_path / "mark", tmp_path / "run.db"
    s = study(whole)
    s.optimize(total, trials=3, progress=False)
    (trial,) = s.ask()
    trial.report(0, 1.0)
    del s, trial
    bomb = pickle.dumps(Bomb(mark))
    texts = ("point", "codes", "metrics", "error", "owner", "state")
    for table, column in [("study", "value"), ("reports", "metrics"), *(("trials", column) for column in texts)]:
        for content in (bomb, bomb.decode("latin-1")):
            file = tmp_path / f"{table}-{column}.db"
            shutil.copy(whole, file)
            with closing(sqlite3.connect(file)) as db:
                db.execute("PRAGMA ignore_check_constraints = 1")
                db.execute(f"UPDATE {table} SET {column} = ?", [content])
                db.commit()
            with contextlib.suppress(mn.StorageError, mn.StudyError):
                study(file).optimize(total, trials=5, progress=False)
            for command in ("show", "report", "repair"):
                main([command, str(file)])
            for left in tmp_path.glob(f"{table}-{column}.db*"):
                left.unlink()
    capsys.readouterr()
    assert not mark.exists()
    with contextlib.suppress(AttributeError):
        pickle.loads(bomb)
    assert mark.exists(), "the bomb works"
    with closing(sqlite3.connect(whole)) as db:
        db.execute("CREATE TRIGGER more AFTER UPDATE ON trials BEGIN DELETE FROM trials; END")
        db.commit()
    study(whole).optimize(total, trials=6, progress=False)
    assert [t.state for t in study(whole).trials] == ["complete"] * 6
