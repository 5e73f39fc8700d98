"""What a durable trial costs, beside one fsync of the same disk and beside Optuna, in the same run.

Wall time, because waiting for the disk is the cost; rounds are interleaved.
"""

import os
import statistics
import time

import pytest

import modularnas as mn

pytestmark = pytest.mark.benchmark
ROUNDS = 5


def six_digits(storage):
    space = mn.SearchSpace({f"d{i}": mn.choice(list(range(5))) for i in range(6)})
    return mn.Study(space, mn.search.Random(), {"s": "max"}, storage=storage, seed=0)


def total(point):
    return float(sum(point.values()))


def fsync_ms(folder, count):
    """One write of a page and its fsync."""
    with (folder / "probe").open("ab", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(count):
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
        return 1000 * (time.perf_counter() - start) / count


def test_a_durable_tell(tmp_path, installed):
    s = six_digits(tmp_path / "ours.db")
    s.optimize(total, trials=20, progress=False)
    optuna = installed("optuna")
    ours, probe, theirs = [], [], []
    if optuna is not None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        other = optuna.create_study(storage=f"sqlite:///{tmp_path}/theirs.db", sampler=optuna.samplers.RandomSampler(0))
        objective = lambda t: sum(t.suggest_categorical(f"d{i}", list(range(5))) for i in range(6))  # noqa: E731
        other.optimize(objective, n_trials=3)
    for _ in range(ROUNDS):
        probe.append(fsync_ms(tmp_path, 40))
        start = time.perf_counter()
        s.optimize(total, trials=len(s.trials) + 40, progress=False)
        ours.append(1000 * (time.perf_counter() - start) / 40)
        if optuna is not None:
            start = time.perf_counter()
            other.optimize(objective, n_trials=8)
            theirs.append(1000 * (time.perf_counter() - start) / 8)
    one, fsync = statistics.median(ours), statistics.median(probe)
    text = f"\ndurable trial {one:.2f} ms, fsync {fsync:.2f} ms: {one / fsync:.2f} of one"
    if theirs:
        text += f"; Optuna (SQLite) {statistics.median(theirs):.1f} ms: ours is {statistics.median(theirs) / one:.0f} times as fast"
    print(text)


@pytest.mark.parametrize("batch", [100, 1000])
def test_batched(tmp_path, batch):
    s = six_digits(tmp_path / f"{batch}.db")
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        s.optimize(total, trials=len(s.trials) + 10 * batch, batch=batch, progress=False)
        rates.append(10 * batch / (time.perf_counter() - start))
    print(f"\ndurable, batches of {batch}: {statistics.median(rates):,.0f} trials/s")


class Cluster:
    """So many workers elsewhere that take no time: what is left is the driver."""

    def __init__(self, workers, per_turn):
        self.workers, self.per_turn, self.held = workers, per_turn, []

    def capacity(self):
        return self.workers

    def submit(self, trials):
        self.held += trials

    def collect(self, seconds):
        back, self.held = self.held[: self.per_turn], self.held[self.per_turn :]
        return [(trial.number, total(trial.point)) for trial in back]


@pytest.mark.parametrize(("workers", "per_turn"), [(8, 1), (64, 16), (1000, 100), (4000, 1000)])
def test_the_driver_of_many_workers(tmp_path, workers, per_turn):
    s = six_digits(tmp_path / "run.db")
    count = min(20 * per_turn, 10_000)
    rates = []
    for _ in range(ROUNDS):
        start, before = time.perf_counter(), len(s.trials)
        engine, stop = (
            s._engine,
            {"trials": before + count, "timeout_s": None, "target": [], "plateau": None, "budget": []},
        )
        engine.optimize(Cluster(workers, per_turn), stop, 1, 1, None, [], (), None, None)
        rates.append(count / (time.perf_counter() - start))
    print(f"\n{workers} workers, {per_turn} back at once: {statistics.median(rates):,.0f} trials/s")


def test_opening_a_large_study(tmp_path):
    s = six_digits(tmp_path / "large.db")
    s.optimize(total, trials=50_000, batch=1000, progress=False)
    del s
    opened = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        assert len(six_digits(tmp_path / "large.db")._engine.pareto_front) > 0
        opened.append(time.perf_counter() - start)
    print(f"\nopening 50,000 trials: {statistics.median(opened):.2f} s")
