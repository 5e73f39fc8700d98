"""Golden trajectories: what every registered algorithm proposes in a short run; run it as a script to write them anew.

A golden changes when an algorithm searches otherwise than it did. If that is meant, write it anew and review the
difference: `python tests/search/write_goldens.py [name ...]`.
"""

import json
import pathlib
import sys

import modularnas as mn
from modularnas.testing.conformance import mixed_space

FOLDER = pathlib.Path(__file__).with_name("goldens")
TRIALS = 24
#: So that a run this short is past the random start and through several generations.
SMALL = {"population": 6, "startup": 6, "every": 3, "sample": 3, "neighbours": 3, "batch": 4, "generations": 2}
#: Where an algorithm searches that serves numbers only.
NUMERIC = {"cma_es": mn.SearchSpace({"n": mn.integer(1, 9), "rate": mn.real(1e-4, 1e-1, log=True)})}
OBJECTIVES = {"one objective": {"loss": "min"}, "two objectives": {"loss": "min", "size": "max"}}


def names():
    """Every registered algorithm that proposes by itself."""
    return [name for name in mn.search.names() if name != "human"]


def measured(trial):
    """Metrics that depend on the trial alone; every seventh trial fails."""
    if trial.number % 7 == 5:
        return mn.Failed("as planned")
    row = trial.point.space.encode([trial.point])[0]
    return {"loss": float(sum(x * (k + 1) % 2.5 for k, x in enumerate(row))), "size": float(row.sum())}


def trajectory(name, objectives):
    """What is proposed: asked two at a time, the later of them told first."""
    algorithm = mn.search.create(name)
    settings = {key: value for key, value in SMALL.items() if key in algorithm.settings}
    space = NUMERIC.get(name) or mixed_space()
    study = mn.Study(space, mn.search.create(name, **settings), objectives=objectives, seed=7)
    while len(study.trials) < TRIALS:
        asked = study.ask(2)
        if not asked:
            break
        for trial in reversed(asked):
            outcome = measured(trial)
            if isinstance(outcome, dict):
                outcome = {metric: outcome[metric] for metric in objectives}
            study.tell(trial, outcome)
    rows = []
    for trial in study.trials:
        row = {"point": json.loads(trial.point.to_json())}
        if trial.fidelity < 1:
            row["fidelity"] = trial.fidelity
        if trial.parent is not None:
            row["parent"] = trial.parent
        rows.append(row)
    return rows


def golden(name):
    return {title: trajectory(name, objectives) for title, objectives in OBJECTIVES.items()}


def write(name):
    runs = []
    for title, rows in golden(name).items():
        lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
        runs.append(f"  {json.dumps(title)}: [\n{lines}\n  ]")
    FOLDER.mkdir(exist_ok=True)
    text = "{\n" + ",\n".join(runs) + "\n}\n"
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:] or names():
        write(name)
