"""Tuning functions and scripts."""

import json
import sys

import pytest

import modularnas as mn
from modularnas.cli import main
from modularnas.tuning import Script, parse_parameter


@mn.tune(lr=mn.real(1e-3, 1.0, log=True), depth=mn.integer(1, 4))
def objective(lr, depth, offset=0.0):
    """What it is."""
    return -abs(lr - 0.1) - abs(depth - 2) + offset


def test_a_tuned_function_is_still_the_function_and_its_study_goes_on(tmp_path):
    assert objective(0.1, depth=3) == -1
    assert objective.__doc__ == "What it is."
    options = {"algorithm": "random", "seed": 3, "progress": False, "storage": tmp_path / "s.db"}
    objective.search(5, **options)
    study = objective.search(12, arguments={"offset": 1.0}, **options)
    assert len(study.trials) == 12
    assert max(t.values["value"] for t in study.trials[:5]) <= 0 < max(t.values["value"] for t in study.trials[5:])
    alone = objective.search(12, algorithm="random", seed=3, progress=False)
    assert [t.point for t in alone.trials] == [t.point for t in study.trials]


def test_architecture_and_hyper_parameters_together():
    architectures = mn.SearchSpace({"k": mn.choice([3, 5, 7]), "w": mn.choice([1, 2], active_if=("k", [5]))})

    @mn.tune(architectures, lr=mn.real(0.0, 1.0))
    def train(point, lr):
        assert point.space == architectures
        return {"accuracy": (point["k"] == 5) * point.get("w", 0) - abs(lr - 0.5), "cost": point["k"]}

    study = train.search(
        80, objectives={"accuracy": "max"}, settings={"constraints": {"cost": (None, 5)}}, seed=0, progress=False
    )
    best = study.best_trial
    assert (best.point["k"], best.point["w"]) == (5, 2)
    assert abs(best.point["lr"] - 0.5) < 0.3


def test_wrong_tuning():
    with pytest.raises(mn.SpaceError, match="nothing to tune"):
        mn.tune()(lambda x: x)
    with pytest.raises(mn.SpaceError, match=r"mn.tune names 'lr', and f\(x\) has no such argument"):

        @mn.tune(lr=mn.real(0, 1))
        def f(x):
            return x


@pytest.mark.parametrize(
    ("text", "kind"),
    [("lr=log(1e-4,1e-1)", "real"), ("n=int(1,4)", "integer"), ("n = int(0, 8, 2)", "integer"), ("a.b-c=choice(x, 1, 2.5, true)", "categorical")],
)  # fmt: skip
def test_parameters(text, kind):
    name, decision = parse_parameter(text)
    assert name in ("lr", "n", "a.b-c")
    assert decision.kind == kind


@pytest.mark.parametrize(
    "text", ["lr", "lr=logg(1,2)", "lr=log(1)", "lr=log(0,1)", "n=int(1,2,3,4)", "n=int(a,b)", "lr=real(2,1)"]
)
def test_wrong_parameters(text):
    with pytest.raises(mn.SpaceError, match=r"expected (NAME=KIND\(…\) with )?one of log\(low,high\)"):
        parse_parameter(text)


SCRIPT = """
import argparse, json, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float); parser.add_argument("--mode"); parser.add_argument("--scale", type=float, default=1)
args = parser.parse_args()
print("starting", {"not": "json"})
if args.mode == "raise":
    raise ValueError("bad luck")
if args.mode == "silent":
    sys.exit()
if args.mode == "slow":
    time.sleep(60)
print(json.dumps({"accuracy": 0, "other": 1}))
print(json.dumps({"accuracy": args.scale * (1 - abs(args.lr - 0.3))}))
"""


class Trial:
    number = 4

    def __init__(self, mode):
        self.point = {"lr": 0.3, "mode": mode}


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


def test_a_script_is_run_and_its_last_line_counts(script, tmp_path):
    run = Script(script, ["accuracy"], arguments=["--scale", "2"], folder=tmp_path / "logs", timeout_s=20)
    assert run.evaluate([Trial("plain")]) == [{"accuracy": 2.0}]
    log = (tmp_path / "logs" / "4.log").read_text()
    assert log.splitlines()[0].endswith("--lr 0.3 --mode plain --scale 2")
    assert "starting" in log
    assert Script(script, ["accuracy"]).evaluate([Trial("raise")]) == [mn.Failed("ended with 1: ValueError: bad luck")]
    (silent,) = Script(script, ["accuracy"]).evaluate([Trial("silent")])
    assert silent.reason.startswith(
        'printed no line of JSON with accuracy, such as {"accuracy": 0.9}; its last: starting'
    )
    assert Script(script, ["accuracy"], timeout_s=0.5).evaluate([Trial("slow")]) == [
        mn.Failed("took longer than 0.5 s")
    ]
    with pytest.raises(mn.EvaluationError, match="there is no script 'nothing.py'"):
        Script("nothing.py", ["accuracy"])
    with pytest.raises(mn.EvaluationError, match="template is '--lr'"):
        Script(script, ["accuracy"], template="--lr")


def test_a_script_reports_steps_and_is_ended_when_its_trial_is_pruned(tmp_path):
    path = tmp_path / "steps.py"
    path.write_text(
        "import modularnas as mn, time\nfor i in range(100):\n    mn.report(step=i, accuracy=i)\n    time.sleep(0.05)\n"
    )

    class Pruned(Trial):
        reports = ()

        def report(self, step, value):
            self.reports = (*self.reports, (step, value))

        def should_prune(self):
            return len(self.reports) == 3

    trial = Pruned("plain")
    (outcome,) = Script(path, ["accuracy"], template="{name}={value}").evaluate([trial])
    assert outcome == mn.Pruned({"accuracy": 2.0})
    assert trial.reports == ((0, 0.0), (1, 1.0), (2, 2.0))


def test_the_command_line_tunes_a_script(script, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "tune",
        "train.py",
        "--param",
        "lr=real(0,1)",
        "--trials",
        "3",
        "--algorithm",
        "random",
        "--out",
        "out",
    ]
    assert main([*arguments, "--json", "--", "--scale", "3"]) == 0
    best = json.loads(capsys.readouterr().out)
    assert best["trials"] == 3
    (trial,) = best["best"]
    assert trial["values"]["accuracy"] == pytest.approx(3 * (1 - abs(trial["point"]["lr"] - 0.3)))
    assert main(["show", "out/study.db"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["tune", "train.py", "--param", "mode=choice(raise)", "--trials", "1", "--out", "bad", "--json"]) == 1
    assert "all 1 trials failed; the last: ended with 1: ValueError: bad luck" in capsys.readouterr().err
    assert main(["tune", "train.py", "--param", "lr=lag(0,1)", "--out", "bad"]) == 1
    assert "parameter 'lr=lag(0,1)'; expected NAME=KIND" in capsys.readouterr().err


def test_the_command_line_tunes_a_function_and_searches_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import modularnas as mn\n"
        "def f(lr, n): return lr * n\n"
        "space = mn.SearchSpace({'a': mn.integer(1, 9), 'b': mn.integer(1, 9)})\n"
        "def g(point): return {'accuracy': point['a'], 'cost': point['a'] * point['b']}\n"
    )
    assert (
        main(["tune", "mine.py:f", "--param", "lr=real(0,1)", "--param", "n=int(1,3)", "--trials", "8", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["best"][0]["values"]["accuracy"] <= 3
    command = [
        "search",
        "mine.py:g",
        "--space",
        "mine.py:space",
        "--objective",
        "accuracy=max",
        "--trials",
        "60",
        "--json",
    ]
    assert (
        main(
            [
                *command,
                "--constraint",
                "cost<=4",
                "--storage",
                "s/run.db",
                "--set",
                "population=10",
                "--set",
                "sample=4",
            ]
        )
        == 0
    )
    (best, *_) = json.loads(capsys.readouterr().out)
    assert best["values"]["cost"] <= 4
    assert main(["search", "mine.py:g", "--space", "mine.py:f"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_metric_is_printed_as_json(capsys):
    mn.report(accuracy=0.5)
    mn.report(2, loss=1)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"accuracy": 0.5},
        {"step": 2, "loss": 1.0},
    ]
    assert sys.executable
