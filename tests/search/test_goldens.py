"""Every registered algorithm proposes what it did when its golden trajectory was reviewed."""

import importlib.util
import json
import pathlib

import pytest

import modularnas as mn

_spec = importlib.util.spec_from_file_location("write_goldens", pathlib.Path(__file__).with_name("write_goldens.py"))
goldens = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(goldens)


@pytest.mark.parametrize("name", goldens.names())
def test_the_trajectory_is_the_reviewed_one(name):
    path = goldens.FOLDER / f"{name}.json"
    command = f"python tests/search/write_goldens.py {name}"
    assert path.is_file(), f"'{name}' has no golden trajectory; run: {command}, and review what it wrote"
    expected = json.loads(path.read_text(encoding="utf-8"))
    found = goldens.golden(name)
    assert found.keys() == expected.keys()
    for title, rows in found.items():
        for number, (row, golden) in enumerate(zip(rows, expected[title], strict=True)):
            # Logarithms differ in the last bit from one C library to another.
            point = {
                key: pytest.approx(value, rel=1e-9) for key, value in golden["point"].items() if type(value) is float
            }
            wanted = {**golden, "point": {**golden["point"], **point}}
            message = f"'{name}', {title}: trial {number} is not the reviewed one; if that is meant, run: {command}"
            assert row == wanted, message


def test_no_golden_is_left_over():
    assert {path.stem for path in goldens.FOLDER.glob("*.json")} <= {*mn.search.names()}
