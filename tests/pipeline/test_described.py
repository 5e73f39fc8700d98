"""Pipelines in YAML: what is wrong is said with its line before anything runs; the published ones are right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import modularnas as mn
from modularnas.cli import main
from modularnas.pipeline.described import published, read_pipeline, schema

MINE = Path(__file__).parent / "mine" / "mine.yaml"

WRONG = {
    "stages: {a: {run: mine.py:verdict, given: 1, searched: 2, outputs: best}}": "line 1: 'stages.a.outputs' is 'best'; expected list",
    "stages:\n  search:\n    algoritm: nsga2\n": "line 3: stage 'search' has the unknown key 'algoritm'; did you mean 'algorithm'",
    "stages:\n  serch: {}\n": "line 2: 'serch' is no ready stage; did you mean 'search'",
    "stages:\n  a:\n    run: mine.py:verdct\n": "line 3: 'mine.py:verdct'",
    "stages:\n  a:\n    run: nowhere.module:f\n": "line 3: 'nowhere.module:f' cannot be imported",
    "seed: one\nstages: {}": "line 1: 'seed' is 'one'; expected int",
    "nam: x\nstages: {}": "line 1: the file has the unknown key 'nam'; did you mean 'name'",
    "name: x\n": "line 1: it has no stages",
    "": "it has no stages",
    "- a\n": "line 1: '' is ['a']; expected a mapping with 'stages'",
    "name: [x\nstages": "line 2: this is no YAML",
    "name: x\nname: y\n": "line 2: the key 'name' is there twice",
    "stages:\n  train:\n    epochs: many\n": "line 3: 'epochs' is 'many'; expected int",
    "stages:\n  train:\n    lr: true\n    epochs: 1\n": "line 3: 'lr' is True; expected float",
    "stages:\n  train:\n    epochs: ${n}\n": "line 3: 'n' is no setting",
    "settings: {n: 1}\nsmoke:\n  m: 2\nstages: {}": "line 3: 'm' is no setting (known: n)",
    "stages:\n  construct: {model: darts, task: {}}\n  search:\n    inputs: {supernet: construct.suprnet, weights: construct.weights}\n": "line 3: stage 'search': 'supernet' is 'construct.suprnet', and 'construct' has no such output; did you mean 'supernet'",
    "stages:\n  construct: {model: darts}\n": "line 2: stage 'construct': construct needs 'task'",
    "stages:\n  evaluate:\n    inputs:\n      netwerk: a.b\n": "line 4: evaluate has no argument 'netwerk'; did you mean 'network'",
    "stages:\n  a:\n    run: mine.py:verdict\n    inputs: {given: b.better, searched: b.better}\n  b:\n    run: mine.py:verdict\n    inputs: {given: a.better, searched: a.better}\n": "the stages form a cycle: ",
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=range(len(WRONG)))
def test_what_is_wrong_is_one_line_with_its_place(text, message, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE.with_name("mine.py").read_text())
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"modularnas: {file}, line ")
    assert message in said.replace(f"{tmp_path}/", "")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_one_line(tmp_path):
    code = "import sys; sys.modules['yaml'] = None; from modularnas.cli import main; sys.exit(main(['run', 'spos']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == 'modularnas: pipelines in YAML need PyYAML: pip install "modularnas[yaml]"\n'


def test_settings_and_smoke(tmp_path):
    pipeline, seed = read_pipeline(MINE, settings={"trials": 3}, size="smoke")
    assert seed == 1
    assert pipeline.stages["search"].arguments["trials"] == 3
    assert pipeline.stages["train_given"].arguments["epochs"] == 1
    assert read_pipeline(MINE)[0].stages["train_given"].arguments["epochs"] == 2
    assert pipeline.stages["construct"].arguments["model"] == f"{MINE.with_name('mine.py').resolve()}:small_net"
    with pytest.raises(mn.PipelineError, match="'trails' is no setting; did you mean 'trials'"):
        read_pipeline(MINE, settings={"trails": 3})
    with pytest.raises(mn.PipelineError, match="there is no file 'sposs'; did you mean 'spos'"):
        read_pipeline("sposs")


@pytest.mark.parametrize("name", published())
def test_a_published_pipeline_is_right_and_says_what_it_is(name, capsys):
    jsonschema = pytest.importorskip("jsonschema")
    yaml = pytest.importorskip("yaml")
    for size in (None, "smoke", "small"):
        pipeline, _ = read_pipeline(name, size=size)
        assert pipeline.name == name
    text = published()[name].read_text()
    jsonschema.validate(yaml.safe_load(text), schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text.replace("settings:", "setings:", 1)), schema())
    assert main(["run", name, "--dry-run"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == pipeline.check()


def test_published_pipelines_are_listed(capsys):
    assert main(["run", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"darts", "proxylessnas", "spos", "ofa", "morphism", "pareto"} <= set(listed)
    assert main(["run", "--list"]) == 0
    assert "Single path one-shot (arXiv 1904.00420)" in capsys.readouterr().out
    assert main(["run", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_numbers_as_people_write_them(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "settings: {lr: 1e-3}\nstages:\n  train: {inputs: {network: a.b, weights: a.c}, epochs: 1, lr: '${lr}'}\n  a: {run: 'json:dumps', obj: 1}\n"
    )
    assert read_pipeline(file)[0].stages["train"].arguments["lr"] == 0.001


def test_a_users_pipeline_runs_goes_on_and_is_shown(data, tmp_path, capsys):
    arguments = [
        "run",
        str(MINE),
        "--smoke",
        "--set",
        f"data={data / 'cifar10_small.npz'}",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*arguments, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main([*arguments, "--dry-run"]) == 0
    assert {line.split()[1] for line in capsys.readouterr().out.splitlines()} == {"done"}
    assert main([*arguments, "--dry-run", "--json"]) == 0
    assert {stage["state"] for stage in json.loads(capsys.readouterr().out).values()} == {"done"}
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert mn.load_export(tmp_path / "run" / "stages" / "export" / "network") is not None

    assert main(["show", str(tmp_path / "run"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {stage["state"] for stage in shown["stages"].values()} == {"done"}
    assert shown["seed"] == 1
    assert (
        main(
            [
                "run",
                str(MINE),
                "--smoke",
                "--seed",
                "5",
                "--set",
                f"data={data / 'cifar10_small.npz'}",
                "--out",
                str(tmp_path / "other"),
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert main(["show", str(tmp_path)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 3
    assert "accuracy" in table[0]
    assert main(["report", str(tmp_path / "run")]) == 0
    report = capsys.readouterr().out
    assert "| search | done |" in report
    assert "regularized_evolution(" in report
    assert "random search at equal budget: not measured" in report  # the result card
    assert main(["report", str(tmp_path / "run" / "stages" / "search" / "study.db"), "--json"]) == 0
    capsys.readouterr()
    assert main(["export", str(tmp_path / "run"), "--front", "0", "--out", str(tmp_path / "front0")]) == 0
    assert mn.load_export(tmp_path / "front0") is not None
    # Without a stage it is the searched network, which stands last in the file, and not the given one.
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "last"), "--json"]) == 0
    capsys.readouterr()
    exported = (tmp_path / "last", tmp_path / "run/stages/export/network")
    n_params = [sum(p.numel() for p in mn.load_export(path).parameters()) for path in exported]
    assert n_params[0] == n_params[1]
    assert main(["export", str(tmp_path / "run"), "--stage", "evaluate", "--out", str(tmp_path / "x")]) == 1
    assert "stage 'evaluate' has no weights" in capsys.readouterr().err
