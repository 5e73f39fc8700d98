"""Studies out to other tools and in from them."""

import csv
import json
import logging
import sys

import pytest

import modularnas as mn

SPACE = mn.SearchSpace(
    {
        "op": mn.choice(["conv", "pool", None]),
        "k": mn.choice([3, 5], active_if=("op", ["conv"])),
        "n": mn.integer(1, 9, step=2),
        "lr": mn.real(1e-4, 1e-1, log=True),
        "at": mn.subset(["a", "b", "c"], take=2),
    }
)


def study(trials=12, **kwargs):
    s = mn.Study(SPACE, mn.search.Random(), {"s": "max"}, seed=1, **kwargs)

    class Evaluate:
        def evaluate(self, trials):
            return [self.one(trial) for trial in trials]

        def one(self, trial):
            trial.report(0, 0.5)
            trial.report(2, {"s": 0.25, "more": 2.0})
            if trial.number == 3:
                return mn.Failed("no such net")
            if trial.number == 4:
                return mn.Pruned({"s": 0.25})
            return {"s": trial.point["lr"] * trial.point["n"], "more": float(trial.number)}

    s.optimize(Evaluate(), trials=trials, progress=False)
    return s


def test_csv_and_json(tmp_path):
    s = study()
    s.to_csv(tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["s"]) if row["s"] else None for row in rows] == [t.values.get("s") for t in s.trials]
    assert list(rows[0])[-1] == "error"
    assert rows[3]["error"] == "no such net"
    s.to_json(tmp_path / "s.json")
    table = json.loads((tmp_path / "s.json").read_text())
    assert [SPACE.point(row["point"]) for row in table] == [t.point for t in s.trials]
    assert table[0]["reports"] == {"0": {"s": 0.5}, "2": {"s": 0.25, "more": 2.0}}
    with pytest.raises(mn.StorageError, match="does not exist; create it"):
        s.to_csv(tmp_path / "no" / "s.csv")


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    s = study()
    s.to_parquet(tmp_path / "s.parquet")
    table = pandas.read_parquet(tmp_path / "s.parquet")
    assert list(table["number"]) == list(range(12))
    assert table["point_lr"].tolist() == [t.point["lr"] for t in s.trials]


@pytest.mark.parametrize("url", ["sqlite:///{}/optuna.db", "{}/journal.log"])
def test_optuna_and_back(tmp_path, url):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    s, url = study(constraints={"more": (None, 5)}), url.format(tmp_path)
    s.to_optuna(url, name="mine")
    storage = url if "://" in url else optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(url))
    theirs = optuna.load_study(study_name="mine", storage=storage)
    assert [t.state.name for t in theirs.trials] == [
        {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[t.state] for t in s.trials
    ]
    assert theirs.trials[0].intermediate_values == {0: 0.5, 2: 0.25}
    assert theirs.trials[0].params["lr"] == s.trials[0].point["lr"]
    assert theirs.best_trials
    again = mn.Study.from_optuna(url, "mine", space=SPACE)
    assert [(t.point, t.state, t.values) for t in again.trials] == [(t.point, t.state, t.values) for t in s.trials]
    assert again.trials[3].error == "no such net"
    with pytest.raises(mn.StudyError, match="has a study 'mine' already; give another name"):
        s.to_optuna(url, name="mine")
    with pytest.raises(mn.StudyError, match="not every trial has parameter 'k'"):
        mn.Study.from_optuna(url, "mine")


def test_a_study_that_optuna_made(tmp_path):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{tmp_path}/theirs.db"
    theirs = optuna.create_study(storage=url, study_name="theirs", direction="minimize")

    def objective(trial):
        x = trial.suggest_float("x", -5, 5)
        n = trial.suggest_int("n", 0, 10)
        kind = trial.suggest_categorical("kind", ["a", "b"])
        return x**2 + n + (kind == "a")

    theirs.optimize(objective, n_trials=20)
    s = mn.Study.from_optuna(url, algorithm=mn.search.Tpe(), storage=tmp_path / "ours.db", seed=3)
    assert s.objectives == {"value": "min"}
    assert [t.values["value"] for t in s.trials] == [t.value for t in theirs.trials]
    assert s.best_trial.values["value"] == theirs.best_value
    s.optimize(lambda p: p["x"] ** 2 + p["n"] + (p["kind"] == "a"), trials=40, progress=False)
    assert len(s.trials) == 40


def test_added_trials_are_told_to_the_algorithm(tmp_path):
    space = mn.SearchSpace({"n": mn.integer(1, 9)})
    s = mn.Study(space, mn.search.Grid(), {"s": "max"}, storage=tmp_path / "run.db")
    trial = s.add({"n": 4}, {"s": 2.0, "extra": 1})
    assert (trial.number, trial.state, trial.values) == (0, "complete", {"s": 2.0, "extra": 1.0})
    assert s.add({"n": 5}, mn.Failed("lost")).error == "lost"
    with pytest.raises(mn.SpaceError):
        s.add({"n": 44}, 1.0)
    assert [t.point["n"] for t in s.trials] == [4, 5]


def test_logging(caplog):
    with caplog.at_level(logging.INFO, "search"):
        s = mn.Study(SPACE, mn.search.Random(), {"s": "max"}, seed=1)
        s.optimize(
            lambda p: mn.Failed("no\nmore") if p["n"] == 1 else 1.0,
            trials=20,
            progress=False,
            callbacks=[mn.observers.Logging("search")],
        )
    assert len(caplog.records) == 20
    failed = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert failed
    assert failed[0].endswith("failed: no")


@pytest.mark.filterwarnings("ignore")
def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    s = mn.Study(SPACE, mn.search.Random(), {"s": "max"}, seed=1)

    def f(trials):
        trials[0].report(1, 0.5)
        return [trials[0].point["lr"]]

    evaluator = type("E", (), {"evaluate": staticmethod(f)})()
    with mn.observers.TensorBoard(tmp_path) as board:
        s.optimize(evaluator, trials=3, progress=False, callbacks=[board])
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [e.value for e in events.Scalars("trials/s")] == pytest.approx([t.values["s"] for t in s.trials])
    assert [e.step for e in events.Scalars("reports/s/2")] == [1]


@pytest.mark.filterwarnings("ignore")
def test_mlflow(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    uri = f"file://{tmp_path}/runs"
    s = mn.Study(SPACE, mn.search.Random(), {"s": "max"}, seed=1)
    s.optimize(
        lambda p: mn.Failed("no") if p["n"] == 1 else p["lr"],
        trials=6,
        progress=False,
        callbacks=[mn.observers.MLflow("search", uri)],
    )
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("search").experiment_id])
    assert len(runs) == 6
    values = sorted(run.data.metrics["s"] for run in runs if "s" in run.data.metrics)
    assert values == pytest.approx(sorted(t.values["s"] for t in s.trials if t.values))


@pytest.mark.parametrize(
    ("module", "use", "extra"),
    [
        ("optuna", lambda s, tmp: s.to_optuna(f"sqlite:///{tmp}/o.db", "a"), "optuna"),
        ("ray", lambda s, tmp: s.optimize(mn.distributed.Ray(len, 1), trials=20, progress=False), "ray"),
        ("torch.utils.tensorboard", lambda s, tmp: mn.observers.TensorBoard(tmp), "tensorboard"),
        ("mlflow.tracking", lambda s, tmp: mn.observers.MLflow("a"), "mlflow"),
    ],
)
def test_a_missing_extra_is_named(module, use, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(mn.MissingExtraError, match=rf'pip install "modularnas\[{extra}\]"'):
        use(study(trials=2), tmp_path)


@pytest.mark.parametrize("module", ["tqdm", "rich"])
def test_a_progress_bar_says_best_and_rate(module, monkeypatch, capsys):
    pytest.importorskip(module)
    if module == "rich":
        for name in ("tqdm", "tqdm.auto"):
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("COLUMNS", "120")
    s = mn.Study(SPACE, mn.search.Random(), {"s": "max"}, seed=1)
    s.optimize(lambda p: 1.5, trials=20)
    said = capsys.readouterr().err
    assert "20/20" in said
    assert "s 1.5" in said
    assert "trial" in said


def test_progress_says_best_rate_and_time_left(monkeypatch, capsys):
    for module in ("tqdm", "tqdm.auto", "rich", "rich.console", "rich.progress"):
        monkeypatch.setitem(sys.modules, module, None)
    s = mn.Study(SPACE, mn.search.Random(), {"s": "max"}, seed=1)
    s.optimize(lambda p: 1.5, trials=20)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("20/20 trials, s 1.5, ")
    assert lines[-1].endswith(" trials/s, 0 s left")
    s.optimize(lambda p: 1.5, timeout_s=0.2)
    assert " trials, s 1.5, " in capsys.readouterr().err
