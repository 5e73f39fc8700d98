"""Trials a second of processor time with an objective that costs next to nothing, against the libraries.

Every contender runs for a fixed processor time, in turns; the rate is the median of the turns. A library without
conditions gets the flat space, whose inactive decisions do not count.
"""

import random
import statistics
import subprocess
import sys
import time
from collections import deque

import numpy as np
import pytest

import modularnas as mn

pytestmark = pytest.mark.benchmark

TURNS, SECONDS = 3, 0.7


class Clock:
    """Says when a contender has had its processor time."""

    def __init__(self):
        self.trials, self.start = 0, time.process_time()

    def tick(self, trials=1):
        self.trials += trials
        return time.process_time() - self.start < SECONDS

    def rate(self):
        return self.trials / (time.process_time() - self.start)


def report(title, contenders):
    rates = {name: [] for name in contenders}
    for _ in range(TURNS):
        for name, run in contenders.items():
            rates[name].append(run())
    rates = {name: statistics.median(turns) for name, turns in rates.items()}
    ours = next(iter(rates.values()))
    print(f"\n{title}, thousand trials a second; ours / it")
    for name, rate in rates.items():
        print(f"  {name:44}{rate / 1e3:10.2f}   {ours / rate:8.1f}")


def ours_one_by_one(space, algorithm):
    def run():
        study, first, trials = mn.Study(space.space, algorithm, {"loss": "min"}, seed=0), space.keys[0], 20_000
        start = time.process_time()
        study.optimize(lambda point: point[first], trials=trials, progress=False)
        return trials / (time.process_time() - start)

    return run


def ours_by_hand(space, algorithm):
    def run():
        study, first, clock = mn.Study(space.space, algorithm, {"loss": "min"}, seed=0), space.keys[0], Clock()
        going = True
        while going:
            (trial,) = study.ask()
            study.tell(trial, trial.point[first])
            going = clock.tick()
        return clock.rate()

    return run


def plain_random(space):
    def run():
        rng, sizes, best, clock = random.Random(0), space.sizes, (np.inf, None), Clock()
        going = True
        while going:
            point = [int(rng.random() * n) for n in sizes]
            best = min(best, (point[0], point))
            going = clock.tick()
        return clock.rate()

    return run


def plain_evolution(space):
    def run():
        rng, sizes, population, clock = random.Random(0), space.sizes, deque(maxlen=100), Clock()
        going = True
        while going:
            if len(population) < 100:
                point = [int(rng.random() * n) for n in sizes]
            else:
                point = list(min(rng.sample(population, 10))[1])
                i = int(rng.random() * len(point))
                point[i] = (point[i] + 1 + int(rng.random() * max(sizes[i] - 1, 1))) % sizes[i]
            population.append((point[0], point))
            going = clock.tick()
        return clock.rate()

    return run


def of_optuna(space, optuna, sampler, directions=("minimize",), trials_before=0):
    parents = space.parents()

    def suggest(trial):
        point = {}
        for key, size in zip(space.keys, space.sizes, strict=True):
            condition = parents[key]
            if condition is None or point.get(condition[0]) in condition[1]:
                point[key] = trial.suggest_categorical(key, range(size))
        return point

    def run():
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=sampler(), directions=directions)
        clock, going = Clock(), True
        while going:
            trial = study.ask()
            values = [*suggest(trial).values()]
            study.tell(trial, values[: len(directions)])
            if len(study.get_trials(deepcopy=False)) == trials_before:
                clock = Clock()
            going = clock.tick() or len(study.get_trials(deepcopy=False)) < trials_before
        return clock.rate()

    return run


def of_syne_tune(space, name):
    from syne_tune.config_space import choice
    from syne_tune.optimizer import baselines
    from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler

    config = {key: choice(list(range(size))) for key, size in zip(space.keys, space.sizes, strict=True)}

    def run():
        if name == "RandomSearch":
            scheduler = baselines.RandomSearch(config, metrics=["loss"], random_seed=0)
        else:
            scheduler = baselines.REA(config, metric="loss", random_seed=0)
        asked, clock, going = AskTellScheduler(base_scheduler=scheduler), Clock(), True
        while going:
            trial = asked.ask()
            asked.tell(trial, {"loss": float(trial.config[space.keys[0]])})
            going = clock.tick()
        return clock.rate()

    return run


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("index", [0, 1], ids=["nb201", "darts"])
def test_one_at_a_time(index, spaces, installed):
    space = spaces[index]
    optuna, syne_tune = installed("optuna"), installed("syne_tune.optimizer.baselines")
    for title, algorithm, plain, baseline in (
        ("random", "random", plain_random(space), "RandomSearch"),
        ("evolution", mn.search.RegularizedEvolution(population=100, sample=10), plain_evolution(space), "REA"),
    ):
        contenders = {
            "ours, study.optimize(function)": ours_one_by_one(space, algorithm),
            "ours, study.ask and study.tell": ours_by_hand(space, algorithm),
            "a bare Python loop that keeps nothing": plain,
        }
        if optuna and title == "random":
            sampler = lambda: optuna.samplers.RandomSampler(seed=0)  # noqa: E731
            contenders["optuna"] = of_optuna(space, optuna, sampler)
        if syne_tune:
            contenders["syne-tune"] = of_syne_tune(space, baseline)
        report(f"{title} on {space.name}, one at a time", contenders)


def ours_in_generations(space, measure, trials=200_000):
    def run():
        algorithm = mn.search.Nsga2(population=1000, crossover="uniform")
        study = mn.Study(space.space, algorithm, {"a": "min", "b": "min"}, seed=0)
        start = time.process_time()
        study.optimize(mn.evaluate.Vectorized(measure), trials=trials, batch=1000, progress=False)
        return trials / (time.process_time() - start)

    return run


def of_pymoo(space, weights, population):
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    columns = np.arange(len(space.sizes))

    class Sums(Problem):
        def __init__(self):
            super().__init__(n_var=len(columns), n_obj=2, xl=0, xu=np.array(space.sizes) - 1, vtype=int)

        def _evaluate(self, points, out, *args, **kwargs):
            out["F"] = np.stack([weights[k, columns, points].sum(1) for k in range(2)], 1)

    def run():
        mutation = PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair())
        sampling = IntegerRandomSampling()
        algorithm = NSGA2(population, sampling=sampling, crossover=UX(), mutation=mutation, eliminate_duplicates=False)
        algorithm.setup(Sums(), termination=("n_eval", 10**9), seed=0, verbose=False)
        clock, going = Clock(), True
        while going:
            before = algorithm.evaluator.n_eval
            algorithm.next()
            going = clock.tick(algorithm.evaluator.n_eval - before)
        return clock.rate()

    return run


def of_deap(space, weights, population):
    from deap import base, creator, tools

    if not hasattr(creator, "Minimised"):
        creator.create("Minimised", base.Fitness, weights=(-1.0, -1.0))
        creator.create("Listed", list, fitness=creator.Minimised)
    tables, highest = weights.tolist(), [n - 1 for n in space.sizes]

    def measure(individual):
        return tuple(sum(row[code] for row, code in zip(table, individual, strict=True)) for table in tables)

    def run():
        random.seed(0)
        clock = Clock()
        parents = [creator.Listed(random.randrange(n) for n in space.sizes) for _ in range(population)]
        for one in parents:
            one.fitness.values = measure(one)
        going, parents = clock.tick(population), tools.selNSGA2(parents, population, nd="log")
        while going:
            children = [creator.Listed(one) for one in tools.selTournamentDCD(parents, population)]
            for a, b in zip(children[::2], children[1::2], strict=True):
                if random.random() <= 0.9:
                    tools.cxUniform(a, b, 0.5)
                tools.mutUniformInt(a, 0, highest, 1 / len(highest))
                tools.mutUniformInt(b, 0, highest, 1 / len(highest))
            for one in children:
                one.fitness.values = measure(one)
            going = clock.tick(population)
            parents = tools.selNSGA2(parents + children, population, nd="log")
        return clock.rate()

    return run


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("index", [0, 1], ids=["nb201", "darts"])
def test_generations(index, spaces, installed):
    space = spaces[index]
    # One column more than the largest domain has values: -1, an inactive decision, costs nothing.
    weights = np.random.default_rng(0).random((2, len(space.sizes), max(space.sizes) + 1))
    weights[:, :, -1] = 0
    columns = np.arange(len(space.sizes))

    def measure(indices):
        return {name: weights[k, columns, indices].sum(1) for k, name in enumerate(("a", "b"))}

    contenders = {"ours, an array a generation": ours_in_generations(space, measure)}
    if installed("pymoo"):
        contenders["pymoo"] = of_pymoo(space, weights, 1000)
    if installed("deap"):
        contenders["DEAP, log sort, a function an individual"] = of_deap(space, weights, 1000)
    if optuna := installed("optuna"):
        sampler = lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=1000)  # noqa: E731
        contenders["optuna"] = of_optuna(space, optuna, sampler, ("minimize", "minimize"))
    report(f"NSGA-II of 1000 on {space.name}", contenders)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "history"), [("tpe", 1_000), ("tpe", 50_000), ("gp_bo", 150)])
def test_model_based(name, history, spaces, installed):
    """The rate at the end of a history of this length."""
    # For TPE the larger one: the other has fewer points than the longest history.
    space = spaces[name == "tpe"]

    def ours():
        study, last = mn.Study(space.space, name, {"loss": "min"}, seed=0), max(history // 10, 20)
        loss = lambda point: sum(point.values())  # noqa: E731
        study.optimize(loss, trials=history - last, progress=False)
        start = time.process_time()
        study.optimize(loss, trials=history, progress=False)
        assert len(study.trials) == history
        return last / (time.process_time() - start)

    contenders = {"ours": ours}
    optuna = installed("optuna")
    if optuna and history <= 1_000:
        of = {"tpe": lambda: optuna.samplers.TPESampler(seed=0), "gp_bo": lambda: optuna.samplers.GPSampler(seed=0)}
        contenders["optuna"] = of_optuna(space, optuna, of[name], trials_before=history - 20)
    report(f"{name} on {space.name} after {history} trials", contenders)


#: Run in a process of its own, whose memory nothing else has grown before.
MEMORY = r"""
import pathlib, re, sys
import modularnas as mn
space, trials = mn.SearchSpace.from_json(sys.stdin.read()), 1_000_000
study = mn.Study(space, "random", {"loss": "min"}, seed=0)
measure = mn.evaluate.Vectorized(lambda indices: indices[:, 0])
# The peak of getrusage is inherited from the parent; this one is not.
status = pathlib.Path("/proc/self/status")
peak = lambda: 1024 * int(re.search(r"VmHWM:\s*(\d+)", status.read_text()).group(1))
study.optimize(measure, trials=trials, batch=1_000, progress=False)
before = peak()
study.optimize(measure, trials=3 * trials, batch=1_000, progress=False)
print(round((peak() - before) / (2 * trials)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("index", [0, 1], ids=["nb201", "darts"])
def test_memory_of_the_history(index, spaces):
    """Growth of the resident memory from one to three million trials, all of which can be read afterwards."""
    space = spaces[index]
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], input=space.space.to_json(), capture_output=True, text=True, check=True
    )
    print(f"\nmemory a trial of the whole history on {space.name}: {run.stdout.strip()} bytes")
