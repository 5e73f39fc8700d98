"""Hours of bad luck: kills, torn logs, many processes, dying actors. Prints what docs/reliability.md quotes.

    python tests/study/soak.py kills --runs 200
    python tests/study/soak.py log
    python tests/study/soak.py faults
    python tests/study/soak.py processes --processes 8 --trials 2000
    python tests/study/soak.py ray --trials 300

`kills` forks its victims from this process, which has imported everything already, so that a run is killed while it works
and not while it imports. A victim writes the number of each trial to a pipe in a callback, that is after its tell has
returned; whatever the pipe holds when the victim is dead must be in the file. `faults` puts a library before the C library's
writes (faulty.c; needs a C compiler) and lets every one of them fail in turn: cut in half by SIGKILL, no space, an error.
"""

import argparse
import ctypes
import errno
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import modularnas as mn


def study(storage=None):
    """The study of all these tests."""
    space = mn.SearchSpace({f"d{i}": mn.choice(list(range(5))) for i in range(6)})
    algorithm = mn.search.RegularizedEvolution(population=20, sample=5)
    return mn.Study(space, algorithm, {"s": "max"}, storage=storage, seed=3)


def total(point):
    """The sum of a point."""
    return float(sum(point.values()))


def points(storage, count):
    """The first complete trials' points."""
    return [t.point for t in study(storage).trials if t.state == "complete"][:count]


def victim(file, trials, pipe):
    """Works until it is killed."""
    study(file).optimize(
        total, trials=trials, progress=False, callbacks=[lambda t: os.write(pipe, t.number.to_bytes(4, "little"))]
    )


def kills(folder, runs, trials=4000):
    """SIGKILL at random moments, one after another on the same file."""
    rng, file = random.Random(0), str(folder / "cut.db")
    lost = doubled = corrupt = told_in_all = killed = 0
    for run in range(runs):
        read, write = os.pipe()
        process = multiprocessing.get_context("fork").Process(target=victim, args=(file, trials * (run + 1), write))
        process.start()
        os.close(write)
        time.sleep(rng.random() * 0.25)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        with os.fdopen(read, "rb") as pipe:
            content = pipe.read()
        told = [int.from_bytes(content[i : i + 4], "little") for i in range(0, len(content) // 4 * 4, 4)]
        told_in_all += len(told)
        with closing(sqlite3.connect(file)) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            corrupt += db.execute("PRAGMA integrity_check").fetchone()[0] != "ok"
            rows = db.execute("SELECT number FROM trials WHERE state = 'complete'").fetchall() if tables else []
        done = [number for (number,) in rows]
        lost += len(set(told) - set(done))
        doubled += len(done) - len(set(done))
    finished = len(points(file, None))
    whole = study()
    whole.optimize(total, trials=finished + 50, progress=False)
    study(file).optimize(total, trials=finished + 50, progress=False)
    same = points(file, finished + 50) == [t.point for t in whole.trials]
    print(
        f"kills: {killed} runs killed, {told_in_all} trials told, {finished} in the file; {lost} lost, {doubled} doubled, "
        f"{corrupt} corrupt; continued run equals the uninterrupted one: {same}"
    )
    return lost == doubled == corrupt == 0 and same


def log(folder, trials=6):
    """A copy of the file with the write-ahead log cut at every length."""
    file, torn = folder / "run.db", folder / "torn.db"
    s = study(file)
    s.optimize(total, trials=trials, progress=False)
    whole = [t.point for t in s.trials]
    content = (folder / "run.db-wal").read_bytes()
    base = file.read_bytes()
    before, wrong = 0, 0
    for length in range(32, len(content) + 1):
        torn.write_bytes(base)
        (folder / "torn.db-wal").write_bytes(content[:length])
        (folder / "torn.db-shm").unlink(missing_ok=True)
        with closing(sqlite3.connect(torn)) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            done = (
                db.execute("SELECT count(*) FROM trials WHERE state = 'complete'").fetchone()[0] if tables else before
            )
        # Never fewer than a shorter log gave: a commit is there, or it is not.
        wrong += done < before
        if done != before:
            wrong += points(torn, None) != whole[:done]
        before = done
    print(f"log: cut at each of {len(content) - 31} lengths, {before} of {trials} trials at full length; {wrong} wrong")
    return wrong == 0 and before == trials


def faults(folder, trials=8, every=1):
    """Each write and fsync of a run fails in turn: half of it and SIGKILL; the disk is full from then on; an I/O error."""
    code = "import soak, sys; sys.exit(not soak.faults_inside(*map(int, sys.argv[2:]), sys.argv[1]))"
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder), str(trials), str(every)]
    return subprocess.run(command, env=faulty(folder), check=False).returncode == 0


def faulty(folder):
    """The environment of a process that has faulty.c before the C library."""
    library, source = folder / "faulty.so", Path(__file__).with_name("faulty.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return dict(os.environ, LD_PRELOAD=str(library), PYTHONPATH=str(source.parent))


def faults_inside(trials, every, folder):
    """`faults`, in a process with the faulty disk."""
    fault_at = ctypes.CDLL(None).fault_at
    whole = study()
    whole.optimize(total, trials=trials, progress=False)
    fine = True
    for name, kind in (("SIGKILL", 0), ("ENOSPC", errno.ENOSPC), ("EIO", errno.EIO)):
        n, lost, wrong, silent, words = 1, 0, 0, 0, set()
        while True:
            file = Path(folder, f"{name}-{n}.db")
            told, error = interrupted(file, trials, lambda at=n, kind=kind: fault_at(at, kind))
            if error is None and len(told) == trials:
                break
            words.add(error.replace(str(file), "FILE") if error else "killed")
            silent += error is None and kind != 0
            found = study(file)
            lost += len(set(told) - {t.number for t in found.trials if t.state == "complete"})
            found.optimize(total, trials=trials, progress=False)
            wrong += [t.point for t in found.trials] != [t.point for t in whole.trials]
            del found
            for left in Path(folder).glob(f"{file.name}*"):
                left.unlink()
            n += every
        print(
            f"faults: {name} at each of {n - 1} writes and fsyncs of {trials} trials (every {every}): {lost} trials lost, "
            f"{wrong} continued runs differ, {silent} without an error; said: {sorted(words)}",
            flush=True,
        )
        fine &= lost == wrong == silent == 0 and n > 1
    return fine


def interrupted(file, trials, begin):
    """The numbers that a run in a child process told before the disk failed, and the error that it ended with."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            begin()
            run = study(file)
            run.optimize(
                total, trials=trials, progress=False, callbacks=[lambda t: os.write(write, b"%d\n" % t.number)]
            )
            status = 0
        except mn.StorageError as error:
            os.write(write, f"error {error}\n".encode())
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(child, 0)
    errors = [line[6:] for line in lines if line.startswith("error ")]
    return [int(line) for line in lines if line.isdigit()], errors[0] if errors else None


def processes(folder, n, trials):
    """Several processes on one file."""
    file = str(folder / "many.db")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(file, trials)) for _ in range(n)]
    start = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wall_s = time.monotonic() - start
    trials_there = study(file).trials
    numbers = [t.number for t in trials_there]
    complete = sum(t.state == "complete" for t in trials_there)
    fine = all(worker.exitcode == 0 for worker in workers)
    fine &= numbers == list(range(len(numbers))) and trials <= complete < trials + n
    print(
        f"processes: {n} on one file, {complete} of {trials} wanted trials complete in {wall_s:.1f} s "
        f"({complete / wall_s:.0f}/s); errors {sum(worker.exitcode != 0 for worker in workers)}, "
        f"doubled {len(numbers) - len(set(numbers))}, unfinished {len(numbers) - complete}"
    )
    return fine


def work(file, trials):
    """What one of several processes does."""
    study(file).optimize(total, trials=trials, progress=False)


def ray_actors(folder, trials):
    """Four actors, one of which is killed every second."""
    import threading

    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    deaths, done = [], threading.Event()

    def slow(point):
        time.sleep(0.2)
        return {"s": total(point), "pid": float(os.getpid())}

    s = study(folder / "ray.db")

    def kill_one():
        while not done.wait(1.0):
            pids = [int(t.values["pid"]) for t in s.trials[-12:] if t.values]
            for pid in random.sample(pids, len(pids)):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                deaths.append(pid)
                break

    threading.Thread(target=kill_one, daemon=True).start()
    start = time.monotonic()
    s.optimize(mn.distributed.Ray(slow, num_workers=4), trials=trials, progress=False)
    done.set()
    states = [t.state for t in s.trials]
    right = all(t.values["s"] == total(t.point) for t in s.trials if t.state == "complete")
    print(
        f"ray: 4 actors, {len(deaths)} killed in {time.monotonic() - start:.0f} s; {states.count('complete')} of {trials} "
        f"trials complete, {states.count('failed')} failed; values are those of their points: {right}"
    )
    ray.shutdown()
    return len(states) >= trials and right


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "log", "faults", "processes", "ray"])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--processes", type=int, default=8)
    options = parser.parse_args()
    # Two hundred thousand copies of a file are for memory.
    memory = "/dev/shm" if options.what == "log" and Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=memory))
    try:
        fine = {
            "kills": lambda: kills(folder, options.runs),
            "log": lambda: log(folder),
            "faults": lambda: faults(folder),
            "processes": lambda: processes(folder, options.processes, options.trials or 2000),
            "ray": lambda: ray_actors(folder, options.trials or 200),
        }[options.what]()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
