"""How fast the loop is: `study.optimize` with a free objective against a bare Python loop of the same algorithm.

Figures of one run: one thread, processor time, medians of interleaved repeats.
"""

import random
import statistics
import time
from collections import deque

import pytest

import modularnas as mn

TRIALS = 20_000
POPULATION, SAMPLE = 100, 25
#: The space of NAS-Bench-201: six decisions of five values.
N_DECISIONS, N_VALUES = 6, 5


def plain_python():
    """Regularized evolution as one would write it by hand: tuples, a deque, nothing kept."""
    rng = random.Random(0)
    population = deque(maxlen=POPULATION)
    for trial in range(TRIALS):
        if trial < POPULATION:
            point = [rng.randrange(N_VALUES) for _ in range(N_DECISIONS)]
        else:
            point = list(max((rng.choice(population) for _ in range(SAMPLE)), key=lambda one: one[0])[1])
            i = rng.randrange(N_DECISIONS)
            point[i] = (point[i] + rng.randrange(1, N_VALUES)) % N_VALUES
        population.append((float(point[0]), tuple(point)))


def ours():
    """The same through a study, every trial kept."""
    space = mn.SearchSpace({f"d{i}": mn.choice(list(range(N_VALUES))) for i in range(N_DECISIONS)})
    algorithm = mn.search.RegularizedEvolution(population=POPULATION, sample=SAMPLE)
    study = mn.Study(space, algorithm, {"s": "max"}, seed=0)
    study.optimize(lambda point: point["d0"], trials=TRIALS, progress=False)


@pytest.mark.benchmark
def test_regularized_evolution_against_a_bare_python_loop():
    seconds = {plain_python: [], ours: []}
    for _ in range(5):
        for run, times in seconds.items():
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
    rates = {run.__name__: TRIALS / statistics.median(times) for run, times in seconds.items()}
    print(f"\nregularized evolution, {TRIALS} trials of six decisions, thousand trials a second of processor time")
    for name, rate in rates.items():
        print(f"  {name:14}{rate / 1e3:8.0f}   {rate / rates['plain_python']:5.2f} x plain Python")
