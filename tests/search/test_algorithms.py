"""Search algorithms as a user sees them: names, settings, errors, and algorithms of one's own."""

import importlib.util
import pathlib

import pytest

import modularnas as mn

SPACE = mn.SearchSpace({"a": mn.choice(range(10)), "b": mn.choice(range(10))})


def loss(point):
    return point["a"] + point["b"]


def study(algorithm, seed=0):
    return mn.Study(SPACE, algorithm, objectives={"loss": "min"}, seed=seed)


def test_the_generated_classes_are_not_stale():
    path = pathlib.Path(__file__).with_name("write_algorithms.py")
    spec = importlib.util.spec_from_file_location("write_algorithms", path)
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.TARGET.read_text(encoding="utf-8") == writer.source(), "run: python tests/search/write_algorithms.py"


def test_names_and_classes():
    names = mn.search.names()
    assert names == sorted(names)
    assert {"random", "regularized_evolution"} <= {*names}
    for name in names:
        algorithm = mn.search.create(name)
        assert algorithm.name == name
        assert isinstance(algorithm, mn.search.Algorithm)
        assert type(algorithm).__doc__
        assert getattr(mn.search, type(algorithm).__name__) is type(algorithm)


def test_settings_have_defaults_and_can_be_read():
    algorithm = mn.search.create("regularized_evolution", population=20)
    assert repr(algorithm) == "RegularizedEvolution(population=20, sample=25)"
    assert algorithm.settings == {"population": 20, "sample": 25}
    assert algorithm == mn.search.RegularizedEvolution(population=20)
    assert hash(algorithm) == hash(mn.search.RegularizedEvolution(population=20))
    assert algorithm != mn.search.RegularizedEvolution()
    assert repr(mn.search.Random()) == "Random()"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: mn.search.create("regularised_evolution"),
            mn.SearchError,
            "there is no search algorithm 'regularised_evolution'; did you mean 'regularized_evolution' or 'mo_regularized_evolution'?",
        ),
        (
            lambda: study("randm"),
            mn.SearchError,
            "there is no search algorithm 'randm'; did you mean 'random'?",
        ),
        (
            lambda: study(mn.search.RegularizedEvolution(population=0)),
            mn.SearchError,
            "search algorithm 'regularized_evolution': population is 0, expected 1 or more",
        ),
        (
            lambda: mn.search.RegularizedEvolution(populaton=3),
            TypeError,
            "RegularizedEvolution.__init__() got an unexpected keyword argument 'populaton'",
        ),
        (
            lambda: study(3),
            mn.StudyError,
            "the algorithm is an int (3); expected one of mn.search, such as mn.search.Random(), or an object with "
            "ask(context, count) and tell(context, finished)",
        ),
        (
            lambda: study(mn.search.Random),
            mn.StudyError,
            "the algorithm is a type (<class 'modularnas.search.algorithms.Random'>); expected one of mn.search, such "
            "as mn.search.Random(), or an object with ask(context, count) and tell(context, finished)",
        ),
    ],
)
def test_wrong_algorithms_are_explained(make, error, message):
    with pytest.raises(error) as raised:
        make()
    assert str(raised.value) == message


def test_the_name_alone_is_enough():
    search = study("random")
    search.optimize(loss, trials=3, progress=False)
    assert len(search.trials) == 3


def test_evolution_beats_random_search():
    space = mn.SearchSpace({f"d{i}": mn.choice(range(10)) for i in range(8)})

    def best(algorithm, seed):
        search = mn.Study(space, algorithm, objectives={"sum": "max"}, seed=seed)
        search.optimize(lambda point: sum(point.values()), trials=300, progress=False)
        return search.best_trial.values["sum"]

    evolution = [best(mn.search.RegularizedEvolution(population=20, sample=5), seed) for seed in range(3)]
    random = [best(mn.search.Random(), seed) for seed in range(3)]
    assert min(evolution) > max(random)


# Algorithms of one's own


class Sweep:
    """Every point in order; remembers what it was told."""

    def __init__(self):
        self.told = []
        self.contexts = []

    def ask(self, context, count):
        self.contexts.append(context)
        ranks = range(context.next, min(context.next + count, context.space.size))
        return [context.space.unrank(rank) for rank in ranks]

    def tell(self, context, finished):
        self.told += finished


def test_an_algorithm_in_python_is_asked_and_told():
    sweep = Sweep()
    search = mn.Study(SPACE, sweep, objectives={"loss": "min"}, constraints={"b": (1, None)}, seed=5)
    asked = search.ask(3)
    assert [dict(trial.point) for trial in asked] == [{"a": 0, "b": b} for b in range(3)]
    search.tell(asked[1], {"loss": 2.0, "b": 1})
    search.tell(asked[0], mn.Failed("no"))
    search.ask()
    assert [(trial.number, trial.state, trial.values) for trial in sweep.told] == [
        (1, "complete", {"loss": 2.0, "b": 1.0}),
        (0, "failed", {}),
    ]
    context = sweep.contexts[-1]
    assert context.space == SPACE
    assert context.objectives == {"loss": "min"}
    assert context.constraints == {"b": (1.0, None)}
    assert context.seed == 5
    assert context.next == 3
    assert [(trial.number, trial.state) for trial in context.running] == [(2, "running")]
    assert context.rng_seed() == context.rng_seed(0) != context.rng_seed(1)


def test_an_exhausted_space_ends_the_loop():
    search = study(Sweep())
    search.optimize(loss, trials=1000, progress=False)
    assert len(search.trials) == SPACE.size
    assert dict(search.best_trial.point) == {"a": 0, "b": 0}
    assert search.ask() == []


def test_a_proposal_may_say_fidelity_and_parent():
    class Proposal:
        def __init__(self, point, fidelity=None, parent=None):
            self.point, self.fidelity, self.parent = point, fidelity, parent

    class Halving(Sweep):
        def ask(self, context, count):
            if context.next == 0:
                return [Proposal({"a": 1, "b": 2}, fidelity=0.25)]
            return [Proposal({"a": 1, "b": 2}, parent=0)]

    search = study(Halving())
    search.optimize(loss, trials=2, progress=False)
    assert [(trial.fidelity, trial.parent) for trial in search.trials] == [(0.25, None), (1.0, 0)]


class Answer:
    def __init__(self, answer):
        self.answer = answer

    def ask(self, context, count):
        return self.answer

    def tell(self, context, finished):
        pass


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            [{"a": 99, "b": 0}],
            mn.SpaceError,
            "decision 'a' is given 99; expected one of (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)",
        ),
        ([3], mn.SpaceError, "a point is given as a int; expected a Point or a dict of decision name to value"),
        (
            [{"a": 1, "b": 1}] * 2,
            mn.SearchError,
            "the search algorithm proposed 2 points where 1 were asked; return at most as many",
        ),
    ],
)
def test_wrong_proposals_are_explained(answer, error, message):
    search = study(Answer(answer))
    with pytest.raises(error) as raised:
        search.optimize(loss, trials=3, progress=False)
    assert str(raised.value) == message


def test_an_exception_of_an_algorithm_passes_with_its_traceback():
    class Broken(Sweep):
        def ask(self, context, count):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as raised:
        study(Broken()).ask()
    assert raised.traceback[-1].name == "ask"


def test_a_study_cannot_be_used_from_inside_its_algorithm():
    class Inside(Sweep):
        def ask(self, context, count):
            search.ask()
            return []

    search = study(Inside())
    with pytest.raises(mn.StudyError) as raised:
        search.ask()
    assert str(raised.value) == (
        "the study was used from inside its own search algorithm; use what ask and tell are given"
    )


#: They walk through an order of all points, or draw from a distribution of theirs.
NEVER_DRAW = {"grid", "cma_es", "reinforce", "ppo", "human"}


@pytest.mark.parametrize("name", sorted({*mn.search.names()} - NEVER_DRAW))
def test_random_points_keep_bounds_on_attached_costs(name):
    """Of a million points 210 are within."""
    space = mn.SearchSpace({f"d{i}": mn.integer(0, 9) for i in range(6)})
    space = space.with_cost("size", {f"d{i}": list(range(10)) for i in range(6)})
    for seed in range(5):
        bounded = mn.Study(space, name, objectives={"loss": "min"}, constraints={"size": (None, 4)}, seed=seed)
        (trial,) = bounded.ask()
        assert sum(trial.point.values()) <= 4


#: These propose no point of a finite space again; the others may.
THOROUGH = ["bananas", "gp_bo", "grid", "local_search", "model_based", "npenas", "predictor_local", "smac", "tpe"]


@pytest.mark.parametrize("name", THOROUGH)
@pytest.mark.parametrize("failing", [3, 1])
def test_a_small_space_is_searched_to_its_end_without_repeating(name, failing):
    """With three or four trials that always run; every third or every one fails."""
    decisions = {"op": mn.choice(["a", "b"]), "k": mn.integer(1, 5), "z": mn.choice([0, 1], active_if=("op", ["a"]))}
    space = mn.SearchSpace(decisions)
    search = mn.Study(space, name, objectives={"loss": "min"}, seed=3)
    points, running = [], []
    while (asked := search.ask(2)) or running:
        points += [trial.point for trial in asked]
        running += asked
        while len(running) > 3 or (running and not asked):
            trial = running.pop(0)
            search.tell(trial, mn.Failed("as planned") if trial.number % failing == 0 else trial.point["k"])
    assert len(points) == len(set(points)) == space.size
