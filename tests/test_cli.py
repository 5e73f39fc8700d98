"""The command line: what it prints, and that errors are one line."""

import json
import pickle
import sys

import numpy as np
import pytest

import modularnas as mn
from modularnas import demo
from modularnas.cli import main


def test_algorithms_and_ops_are_listed(capsys):
    assert main(["algorithms", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == set(mn.search.names())
    assert main(["ops", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == mn.ops.names()
    assert main(["ops"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == mn.ops.names()
    assert "max_pool_3x3              pool            Maximum over windows of 3. [1d, 2d, 3d]" in lines


def test_show_reads_a_study(tmp_path, capsys):
    file = tmp_path / "run.db"
    study = mn.Study(mn.SearchSpace({"n": mn.integer(1, 3)}), mn.search.Random(), objectives={"n": "max"}, storage=file)
    study.optimize(lambda point: mn.Failed("no") if point["n"] == 1 else point["n"], trials=12, progress=False)
    assert main(["show", str(file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [t["point"] for t in shown["trials"]] == [dict(t.point) for t in study.trials]
    assert [t["state"] for t in shown["trials"]] == [t.state for t in study.trials]
    assert main(["show", str(file)]) == 0
    assert "failed    no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nothing.db"], "'nothing.db' does not exist; expected the storage file of a study"),
        (["demo", "--data", "mnist"], "--data is mnist; expected digits, or cifar10 PATH"),
        (["demo", "--data", "cifar10", "nowhere"], "'nowhere' holds no CIFAR-10"),
        (["task", "voice", "--data", "no.npz", "--out", "o"], "'no.npz' holds no spoken words: "),
        (["demo", "--epochs", "0"], "--epochs is 0 and --trials is 40; expected 1 or more of each"),
    ],
)
def test_errors_are_one_line_without_a_traceback(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"modularnas: {message}")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_task_runs_through(data, tmp_path, capsys):
    file = str(data / "ctr_small.npz")
    command = ["task", "recommendation", "--data", file, "--out", str(tmp_path), "--smoke", "--plan", "trials=3"]
    assert main([*command, "--set", "table=criteo", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["table"]) == {"baseline", "random", "random_search", "searched"}
    assert len(shown["architecture"]) == 3
    assert {"card.md", "result.json", "best"} <= {path.name for path in tmp_path.iterdir()}
    assert main([*command, "--set", "table=films"]) == 1
    assert "table is 'films'; expected one of movielens" in capsys.readouterr().err


def test_the_demo_runs_through(tmp_path, capsys):
    assert main(["demo", "--smoke", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "reloaded by a fresh process with torch alone" in printed
    assert "most accurate: " in printed
    assert {"best", "pareto.png", "searched.db", "random.db"} <= {path.name for path in tmp_path.iterdir()}
    assert mn.load_export(tmp_path / "best") is not None


def test_cifar10_is_read_from_the_official_batches_and_from_the_npz(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
    y = rng.integers(0, 10, 60)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        part = slice(10 * i, 10 * i + 10)
        batch = {b"data": x[part].reshape(10, -1), b"labels": y[part].tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    differences = x.copy()
    differences[:, 0] -= x[:, 1]
    differences[:, 2] -= x[:, 1]
    for axis in (3, 2):
        differences = np.diff(differences, axis=axis, prepend=np.uint8(0))
    np.savez(tmp_path / "c.npz", train_d=differences[:50], train_y=y[:50], test_d=differences[50:], test_y=y[50:])
    batches = demo.load_cifar10(tmp_path, n_valid=10)
    npz = demo.load_cifar10(tmp_path / "c.npz", n_valid=10)
    for a, b in zip((batches.train, batches.valid, batches.test), (npz.train, npz.valid, npz.test), strict=True):
        assert (a[0] == b[0]).all()
        assert (a[1] == b[1]).all()
    assert len(batches.train[0]) == 40
    assert demo.load_cifar10(tmp_path, n_valid=10, image_size=16).test[0].shape == (10, 3, 16, 16)


class _Code:
    def __reduce__(self):
        return (sys.exit, (3,))


def test_a_cifar10_file_cannot_run_code(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": _Code()}))
    with pytest.raises(mn.ModularNASError, match=r"it contains sys\.exit"):
        demo.load_cifar10(tmp_path)
