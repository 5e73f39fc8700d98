"""Every registered search algorithm keeps the laws; a broken one is caught."""

import random

import pytest

import modularnas as mn
from modularnas import testing

#: Settings with which an algorithm leaves its warm-up within a short run (or asks nobody); defaults for those not named.
SHORT = {
    "human": {"callback": lambda context, _: context.space.sample(context.rng_seed(0))},
    "regularized_evolution": {"population": 8, "sample": 3},
}
#: Where an algorithm searches that serves numbers only; a mixed space for the others.
SPACES = {"cma_es": mn.SearchSpace({"n": mn.integer(1, 9), "rate": mn.real(1e-4, 1e-1, log=True), "x": mn.real(-1, 1)})}


@pytest.mark.parametrize("name", mn.search.names())
def test_registered_algorithms_keep_the_laws(name):
    testing.check_algorithm(lambda: mn.search.create(name, **SHORT.get(name, {})), space=SPACES.get(name), trials=24)


@pytest.mark.parametrize("name", mn.search.names())
def test_and_with_several_objectives(name):
    objectives = {"accuracy": "max", "macs": "min"}
    make = lambda: mn.search.create(name, **SHORT.get(name, {}))  # noqa: E731
    testing.check_algorithm(make, space=SPACES.get(name), objectives=objectives, trials=12)


class Climber:
    """A user's algorithm: a random neighbour of the best point so far."""

    def __init__(self):
        self.best = None

    def ask(self, context, count):
        asked = []
        for offset in range(count):
            seed = context.rng_seed(offset)
            if self.best is None:
                asked.append(context.space.sample(seed=seed))
            else:
                near = context.space.neighbours(self.best[1]) or [self.best[1]]
                asked.append(random.Random(seed).choice(near))
        return asked

    def tell(self, context, finished):
        for trial in finished:
            loss = trial.values.get("loss")
            if loss is not None and (self.best is None or loss < self.best[0]):
                self.best = (loss, trial.point)


def test_an_algorithm_of_a_user_keeps_them_too():
    testing.check_algorithm(Climber, trials=16)


class Forgetful(Climber):
    """Breaks the laws: what it proposes depends on how often it was asked."""

    def ask(self, context, count):
        self.asked = getattr(self, "asked", 0) + 1
        return [context.space.sample(seed=self.asked) for _ in range(count)]


class Moody(Climber):
    """Breaks the laws: randomness of its own."""

    def ask(self, context, count):
        return [context.space.sample(seed=random.SystemRandom().getrandbits(32)) for _ in range(count)]


class Together(Climber):
    """Breaks the laws: learns how many trials it is told at once."""

    def tell(self, context, finished):
        self.best = (0.0, context.space.sample(seed=len(finished)))


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (Forgetful, "cut often and resumed from its file, the run goes on otherwise"),
        (Moody, "the same seed gives another run"),
        (Together, "cut after 2 trials and resumed|told together teach it something else"),
    ],
)
def test_broken_algorithms_are_caught(make, law):
    with pytest.raises(AssertionError, match=law):
        testing.check_algorithm(make, trials=12)
