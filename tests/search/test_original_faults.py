"""Faults of the original library's optimizers, each with the behaviour that replaces it."""

import pytest

import modularnas as mn

SETTINGS = {"population": 6, "sample": 3}


def names(*but):
    return [name for name in mn.search.names() if name not in ("human", *but)]


def create(name):
    known = mn.search.create(name).settings
    return mn.search.create(name, **{key: value for key, value in SETTINGS.items() if key in known})


@pytest.mark.parametrize("name", names("cma_es"))
@pytest.mark.timeout(30)
def test_a_parameter_of_one_choice_does_not_hang_mutation(name):
    """There mutation and simulated annealing drew until the value differed, which it never did."""
    space = mn.SearchSpace({"only": mn.choice(["one"]), "op": mn.choice(["a", "b", "c"]), "n": mn.integer(4, 4)})
    study = mn.Study(space, create(name), objectives={"loss": "min"}, seed=0)
    study.optimize(lambda point: "abc".index(point["op"]), trials=40, progress=False)
    assert all(trial.point["only"] == "one" and trial.point["n"] == 4 for trial in study.trials)
    assert study.best_trial.point["op"] == "a"


@pytest.mark.parametrize("name", names())
def test_a_batch_holds_different_individuals(name):
    """There a whole batch of evolution was the same individual."""
    space = mn.SearchSpace({f"d{i}": mn.integer(1, 30) for i in range(8)})
    study = mn.Study(space, create(name), objectives={"loss": "min"}, seed=0)
    study.optimize(lambda point: sum(point.values()), trials=16, progress=False)
    batch = study.ask(4)
    assert len({trial.point for trial in batch}) > 1


@pytest.mark.parametrize("name", names("cma_es"))
def test_the_state_of_a_search_is_saved(name, tmp_path):
    """There the state of evolution was neither saved nor loaded."""
    space = mn.SearchSpace({"op": mn.choice(["a", "b", "c"]), "n": mn.integer(1, 50)})

    def run(*lengths, storage):
        for trials in lengths:
            study = mn.Study(space, create(name), objectives={"loss": "min"}, storage=storage, seed=2)
            study.optimize(lambda point: point["n"] + "abc".index(point["op"]), trials=trials, progress=False)
        return [trial.point for trial in study.trials]

    assert run(17, 30, storage=tmp_path / "cut.db") == run(30, storage=None)


@pytest.mark.parametrize("name", names())
def test_numeric_parameters_take_part(name):
    """There random search, grid search, evolution and the model-based search ignored numeric parameters."""
    space = mn.SearchSpace({"rate": mn.real(1e-4, 1.0, log=True), "depth": mn.integer(1, 20)})
    study = mn.Study(space, create(name), objectives={"loss": "min"}, seed=0)
    study.optimize(lambda point: point["rate"] + point["depth"], trials=40, progress=False)
    for decision in ("rate", "depth"):
        assert len({trial.point[decision] for trial in study.trials}) > 3


def test_the_pareto_front_has_all_its_points():
    """There a point that neither dominates nor is dominated was rejected, so the front always had one point."""
    space = mn.SearchSpace({"x": mn.integer(0, 9), "y": mn.integer(0, 3)})
    study = mn.Study(space, mn.search.Grid(), objectives={"a": "min", "b": "max"})
    study.optimize(lambda point: {"a": point["x"] + point["y"], "b": point["x"]}, trials=40, progress=False)
    assert sorted(trial.values["b"] for trial in study.pareto_front) == [*range(10)]
    assert all(trial.point["y"] == 0 for trial in study.pareto_front)
    assert mn.pareto_front([[0, 3], [1, 1], [3, 0], [2, 2]]).tolist() == [0, 1, 2]


def test_two_searches_live_in_one_process():
    """There parameters and events were global, which forbade a second search."""
    spaces = [mn.SearchSpace({"n": mn.integer(1, high)}) for high in (3, 50)]
    studies = [mn.Study(space, create("regularized_evolution"), objectives={"n": "max"}, seed=4) for space in spaces]
    for _ in range(20):
        for study in studies:
            for trial in study.ask():
                study.tell(trial, trial.point["n"])
    assert [study.best_trial.values["n"] <= study.space.size for study in studies] == [True, True]
    assert studies[1].best_trial.values["n"] > 3
