"""Every example in a docstring runs, in Python and in the native half."""

import doctest
import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import nn

import modularnas as mn

#: Modules that run something when they are imported.
SKIPPED = {"modularnas.__main__"}


def modules():
    found = pkgutil.walk_packages(mn.__path__, "modularnas.")
    return [mn, *(importlib.import_module(info.name) for info in found if info.name not in SKIPPED)]


def native():
    """What of the native module has docstrings of its own: functions, classes and their methods."""
    for name, item in inspect.getmembers(mn._core):
        if inspect.isbuiltin(item):
            yield f"modularnas._core.{name}", item
        elif inspect.isclass(item):
            yield f"modularnas._core.{name}", item
            for method, attribute in vars(item).items():
                if not method.startswith("_"):
                    yield f"modularnas._core.{name}.{method}", attribute


def examples():
    finder, parser = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestParser()
    seen = {}
    for module in modules():
        if module is not mn._core:
            for test in finder.find(module):
                seen[test.name] = test
    for name, item in native():
        test = parser.get_doctest(inspect.getdoc(item) or "", {}, name, None, None)
        seen[name] = test
    return [test for _, test in sorted(seen.items()) if test.examples]


EXAMPLES = examples()


def test_there_are_examples_in_both_halves():
    names = {test.name for test in EXAMPLES}
    assert {
        "modularnas.study.study.Study",
        "modularnas._core.SearchSpace",
        "modularnas.testing.conformance.check_op",
    } <= names


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name.removeprefix("modularnas."))
def test_example(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    ops = dict(mn.ops.registry._OPS)
    example.globs = {"mn": mn, "torch": torch, "nn": nn}
    report = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    try:
        doctest.DocTestRunner(verbose=False, optionflags=flags).run(example, out=report.append)
    finally:
        mn.ops.registry._OPS.clear()
        mn.ops.registry._OPS.update(ops)
    assert not report, "".join(report)
