"""What the benchmarks share: interleaved timing, and the two spaces that every library is measured on."""

import importlib
import itertools
import statistics
import time

import pytest

import modularnas as mn

#: Repeats of each contender, taken in turns, so that a slow minute of the machine slows all of them.
ROUNDS = 5
N_OPERATIONS = 8


@pytest.fixture
def installed():
    """Imports a rival; None, with a line that says so, if it is not installed."""

    def find(module):
        try:
            return importlib.import_module(module)
        except ImportError:
            print(f"  ({module} is not installed: skipped)")
            return None

    return find


@pytest.fixture
def seconds():
    """Processor seconds of contenders: the median of repeats taken in turns; `best_of` calls within a repeat."""

    def measure(contenders, rounds=ROUNDS, at_least=0.0):
        times = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                start, calls, elapsed = time.process_time(), 0, 0.0
                while calls == 0 or elapsed < at_least:
                    run()
                    calls += 1
                    elapsed = time.process_time() - start
                times[name].append(elapsed / calls)
        return {name: statistics.median(repeats) for name, repeats in times.items()}

    return measure


#: DARTS: in two cells each of four nodes takes two of the nodes before it, by one of eight operations each.
PAIRS = [list(itertools.combinations(range(node + 2), 2)) for node in range(4)]
FIRST_EDGE = [0, 2, 5, 9]


class Space:
    """A space in the forms that the libraries want, and two objectives that cost next to nothing."""

    def __init__(self, name, decisions):
        self.name = name
        self.space = mn.SearchSpace(decisions)
        self.keys = [decision.name for decision in self.space.decisions]
        self.sizes = [len(decision.choices) for decision in self.space.decisions]

    def parents(self):
        """For each key None or (key, values)."""
        return {decision.name: decision.active_if for decision in self.space.decisions}


@pytest.fixture
def spaces():
    nb201 = {f"edge{i}": mn.choice(range(5)) for i in range(6)}
    darts = {}
    for cell, node in itertools.product(range(2), range(4)):
        pair = f"c{cell}n{node}"
        darts[pair] = mn.choice(range(len(PAIRS[node])))
        for source in range(node + 2):
            taking = [i for i, sources in enumerate(PAIRS[node]) if source in sources]
            darts[f"{pair}from{source}"] = mn.choice(range(N_OPERATIONS), active_if=(pair, taking))
    return [Space("nb201", nb201), Space("darts", darts)]
