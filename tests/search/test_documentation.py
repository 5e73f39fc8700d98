"""The table of docs/algorithms.md: a row for every registered algorithm, and columns that say what is so."""

import itertools
import pathlib
import re

import pytest

import modularnas as mn
from modularnas.testing.conformance import mixed_space

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "algorithms.md"
COLUMNS = ["name", "paper", "when to use it", "cost", "objectives", "categories", "numbers", "fidelity", "parent"]
NUMBERS = mn.SearchSpace({"n": mn.integer(1, 9), "rate": mn.real(1e-4, 1e-1, log=True)})


def rows():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = list(itertools.takewhile(lambda line: line.startswith("|"), lines[first:]))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0] == COLUMNS
    assert all(len(row) == len(COLUMNS) for row in cells)
    return {row[0].strip("`"): dict(zip(COLUMNS, row, strict=True)) for row in cells[2:]}


ROWS = rows()


def test_every_algorithm_has_a_row():
    assert {*mn.search.names()} <= {*ROWS}
    for name, row in ROWS.items():
        assert row["when to use it"], name
        assert row["objectives"] in ("own", "sum"), name
        assert {row[column] for column in ("categories", "numbers", "fidelity", "parent")} <= {"yes", "no"}, name


@pytest.mark.parametrize("name", sorted({*mn.search.names()} - {"human"}))
def test_its_columns_are_what_it_does(name):
    row, yes = ROWS[name], lambda holds: "yes" if holds else "no"
    served = []
    for space in (mixed_space(), NUMBERS):
        try:
            study = mn.Study(space, name, objectives={"loss": "min"}, seed=1)
        except mn.SearchError:
            continue
        served.append(space)
        study.optimize(
            lambda point: sum(x for x in point.values() if not isinstance(x, str | tuple)), 150, progress=False
        )
    assert row["categories"] == yes(served[0] is not NUMBERS)
    assert row["numbers"] == yes(served[-1] is NUMBERS)
    assert row["fidelity"] == yes(any(trial.fidelity < 1 for trial in study.trials))
    assert row["parent"] == yes(any(trial.parent is not None for trial in study.trials))


def test_every_gradient_based_method_has_a_row():
    section = PAGE.read_text(encoding="utf-8").partition("## Gradient-based search")[2]
    named = set(re.findall(r"^\| `(\w+)`", section, re.M))
    methods = {name for name in mn.search.gradient.__all__ if name.isidentifier()}
    classes = {name for name in methods if isinstance(getattr(mn.search, name), type)}
    expected = {name for name in classes if issubclass(getattr(mn.search, name), mn.search.GradientAlgorithm)}
    assert named == expected - {"GradientAlgorithm"}


def test_links_are_of_papers():
    links = re.findall(r"\]\((.*?)\)", PAGE.read_text(encoding="utf-8"))
    assert all(link.startswith(("https://arxiv.org/abs/", "https://doi.org/10.")) for link in links)
