"""Replays and queries of a table, against plain Python and NumPy on the same table."""

import random
from collections import deque

import numpy as np
import pytest

import modularnas as mn

pytestmark = pytest.mark.benchmark

SEEDS, TRIALS, POPULATION, SAMPLE = 500, 1_000, 100, 10
N_OPERATIONS, N_EDGES = 5, 6


def evolve(table, seed):
    """Regularized evolution on a dict of tuples, as one would write it by hand."""
    rng = random.Random(seed)
    population, best, curve = deque(), -1.0, []
    for trial in range(TRIALS):
        if trial < POPULATION:
            point = tuple(rng.randrange(N_OPERATIONS) for _ in range(N_EDGES))
        else:
            parent = max(rng.sample(population, SAMPLE))[1]
            edge, other = rng.randrange(N_EDGES), rng.randrange(N_OPERATIONS - 1)
            point = (*parent[:edge], other + (other >= parent[edge]), *parent[edge + 1 :])
        accuracy = table[point]
        population.append((accuracy, point))
        if len(population) > POPULATION:
            population.popleft()
        best = max(best, accuracy)
        curve.append(best)
    return curve


def evolve_together(accuracy):
    """All seeds stepped together: the fastest form that NumPy allows. `accuracy` is indexed in mixed radix."""
    rng = np.random.default_rng(0)
    population = rng.integers(0, len(accuracy), (SEEDS, POPULATION))
    fitness = accuracy[population]
    best, rows = fitness.max(1), np.arange(SEEDS)
    power = N_OPERATIONS ** np.arange(N_EDGES)
    for trial in range(POPULATION, TRIALS):
        drawn = rng.integers(0, POPULATION, (SEEDS, SAMPLE))
        parent = population[rows, drawn[rows, fitness[rows[:, None], drawn].argmax(1)]]
        edge = power[rng.integers(0, N_EDGES, SEEDS)]
        old = parent // edge % N_OPERATIONS
        new = (old + rng.integers(1, N_OPERATIONS, SEEDS)) % N_OPERATIONS
        child = parent + (new - old) * edge
        slot = trial % POPULATION
        population[:, slot], fitness[:, slot] = child, accuracy[child]
        np.maximum(best, fitness[:, slot], out=best)
    return best


def test_regularized_evolution_over_many_seeds(data, seconds):
    bench = mn.benchmarks.NASBench201(data / "nasbench201.npz")
    codes = np.stack(np.unravel_index(np.arange(bench.space.size), (N_OPERATIONS,) * N_EDGES), 1).astype(np.int32)
    accuracy = bench.query(codes, "valid_accuracy")
    table = {tuple(row): value for row, value in zip(codes.tolist(), accuracy.tolist(), strict=True)}
    algorithm = mn.search.RegularizedEvolution(population=POPULATION, sample=SAMPLE)
    tenth = SEEDS // 10
    times = seconds(
        {
            "ours": lambda: mn.benchmarks.replay(bench, [algorithm], trials=TRIALS, seeds=SEEDS),
            "NumPy, all seeds at once": lambda: evolve_together(accuracy),
            "plain Python": lambda: [evolve(table, seed) for seed in range(tenth)],
        }
    )
    times["plain Python"] *= 10
    print(f"\nregularized evolution on NAS-Bench-201, {SEEDS} seeds x {TRIALS} queries, processor time")
    for name, time in times.items():
        print(f"  {name:26}{1e3 * time:8.1f} ms   ours / it {times['ours'] / time:.3f}")


def test_queries(data, seconds):
    bench = mn.benchmarks.NASBench201(data / "nasbench201.npz")
    points = bench.space.samples(20_000, seed=0)
    codes = bench.space.indices(points)
    tuples = [tuple(row) for row in codes.tolist()]
    table = dict(zip(tuples, bench.query(codes, "valid_accuracy").tolist(), strict=True))
    column = bench.query(codes, "valid_accuracy")
    rows = np.random.default_rng(0).permutation(len(column))
    times = seconds(
        {
            "ours, one by one": lambda: [bench.query(point, "valid_accuracy") for point in points],
            "ours, an array": lambda: bench.query(codes, "valid_accuracy"),
            "a dict of tuples": lambda: [table[point] for point in tuples],
            "NumPy, known rows": lambda: column[rows],
        },
        at_least=0.02,
    )
    print("\none metric of NAS-Bench-201, nanoseconds a query")
    for name, time in times.items():
        print(f"  {name:26}{1e9 * time / len(points):8.1f}")
