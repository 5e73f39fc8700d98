"""A short run of fuzz.py and of soak.py; the long ones are run by hand (docs/reliability.md)."""

import importlib.util
import pathlib

import pytest


def script(name):
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        ("store", 300),
        ("show", 100),
        ("report", 100),
        ("repair", 100),
        ("space", 3000),
        ("point", 3000),
        ("latency", 300),
        ("yaml", 200),
        ("parameter", 1000),
    ],
)
def test_mutated_inputs_are_read_or_refused(tmp_path, target, inputs):
    fuzz = script("fuzz")
    refused, _, _ = fuzz.fuzz(fuzz.targets(tmp_path)[target](), inputs, seed=1)
    assert 0 < refused <= inputs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_kills_and_processes(tmp_path, capsys):
    soak = script("soak")
    (tmp_path / "a").mkdir()
    assert soak.kills(tmp_path / "a", 8, trials=400)
    assert soak.processes(tmp_path, 3, 120)
    assert "0 lost, 0 doubled, 0 corrupt" in capsys.readouterr().out
