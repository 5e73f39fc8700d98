"""The scripts of the paper's tables: every row is described, every method runs, lines of code are counted."""

import json
import pathlib
import subprocess
import sys

import pytest
import torch

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "paper"
yaml = pytest.importorskip("yaml")


def script(name, *arguments):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_row_has_a_method_and_a_space():
    methods = {"Random"} | {
        line.strip().split('"')[1]
        for line in (FOLDER / "experiment.py").read_text().splitlines()
        if line.startswith('    "')
    }
    n = 0
    for table in (3, 4, 5):
        description = yaml.safe_load((FOLDER / f"table{table}.yaml").read_text())
        for row in description["rows"]:
            n += 1
            assert row["method"] in methods, row
            for recipe in description["recipes"].values():
                assert row["space"] in recipe["spaces"], row
    assert n == 45  # of 52; the other seven are table 6


def test_lines_of_user_code():
    rows = [line.split("|") for line in script("table7").splitlines()[2:6]]
    ours = [int(row[2]) for row in rows]
    assert ours[0] <= 5
    assert ours[1:3] == [0, 0]
    assert ours[3] <= 2


@pytest.mark.slow
def test_setups_of_table_7_run(data, tmp_path):
    pytest.importorskip("torchvision")
    assert script("table7", "--data", data).count("ran, accuracy") == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "first", "last"), [(3, 1, 11), (3, 12, 18), (3, 19, 27), (3, 28, 32), (4, 1, 7), (5, 1, 6)]
)
def test_rows_run(table, first, last, data, tmp_path):
    rows = [f"{table}.{i}" for i in range(first, last + 1)]
    script(f"table{table}", "--data", data, "--out", tmp_path, "--recipe", "smoke", "--rows", *rows)
    done = json.loads((tmp_path / f"table{table}-smoke.json").read_text())
    assert set(done) == {f"{row}/0" for row in rows}
    assert "| published |" in (tmp_path / f"table{table}-smoke.md").read_text()


@pytest.mark.slow
def test_fronts_of_figure_11(data, tmp_path):
    pytest.importorskip("matplotlib")
    assert "genetic, latency_64_ms" in script("figure11", "--data", data, "--out", tmp_path, "--smoke")
    assert (tmp_path / "figure11.png").stat().st_size > 10_000


@pytest.mark.slow
def test_tables_of_results_run_and_say_what_they_show(data, tmp_path):
    pytest.importorskip("scipy")
    for table, only, seeds in (("voice", "official", 1), ("recommendation", "criteo", 2)):
        said = script("results", table, "--data", data, "--out", tmp_path, "--smoke", "--only", only, "--seeds", seeds)
        assert ("Searched against" in said) == (seeds > 1)
        (tmp_path / f"{table}-smoke.json").rename(tmp_path / f"{table}.json")
    script("write_results", tmp_path, tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text()
    assert "| criteo | mlp in every branch |" in text
    assert "Not measured: `python docs/paper/table4.py --data DATA`" in text


def test_full_recipes_are_arguments_of_the_tasks(monkeypatch):
    pytest.importorskip("scipy")
    monkeypatch.syspath_prepend(str(FOLDER))
    import inspect

    import experiment

    import modularnas as mn

    rooms = {3: mn.tasks.image, 4: mn.tasks.voice, 5: mn.tasks.recommendation}
    for table, room in rooms.items():
        description = yaml.safe_load((FOLDER / f"table{table}.yaml").read_text())
        for recipe in description["recipes"].values():
            for row in description["rows"]:
                given = experiment.settings(experiment.of_row(recipe, row))
                assert set(given) - {"path"} <= set(inspect.signature(room.create).parameters), row
                if "optimizer" in given:
                    given["optimizer"]([torch.nn.Parameter(torch.zeros(1))])
    imagenet = experiment.of_row(
        yaml.safe_load((FOLDER / "table3.yaml").read_text())["recipes"]["gpu"], {"space": "Res-50", "data": "ImageNet"}
    )
    assert imagenet["data"]["n_valid"] == 50_000
    assert imagenet["search_epochs"] == 120


def test_sentences_are_what_the_numbers_say(monkeypatch):
    pytest.importorskip("scipy")
    monkeypatch.syspath_prepend(str(FOLDER))
    import results

    def networks(step):
        found = {("a", str(seed)): {"auc": 0.7 + 0.01 * seed + step} for seed in range(4)}
        other = {("a", str(seed)): {"auc": 0.7 + 0.01 * seed + 0.001 * (-1) ** seed} for seed in range(4)}
        return {"searched": found, "random": other}

    assert "random +0.1000 ± 0.0018 (better)" in results.finding(networks(0.1), "auc")
    assert "(worse)" in results.finding(networks(-0.1), "auc")
    assert "(no difference seen)" in results.finding(networks(0.001), "auc")
