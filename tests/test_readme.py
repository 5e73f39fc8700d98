"""The README's Python runs as it stands."""

import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_example_runs_and_leaves_an_export(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert {path.name for path in (tmp_path / "best").iterdir()} == {
        "model.py",
        "weights.safetensors",
        "architecture.json",
    }
    assert len(names["study"].trials) == 20
