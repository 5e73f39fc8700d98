"""Search by hand, at the terminal and by a callback."""

import pytest

import modularnas as mn

SPACE = mn.SearchSpace(
    {
        "k": mn.choice([3, 5, 7], active_if=("op", ["conv"])),
        "op": mn.choice(["conv", "pool"]),
        "n": mn.integer(1, 4),
        "lr": mn.real(0.1, 1.0),
        "inputs": mn.subset(["a", "b", "c"], take=2),
    }
)


def typed(monkeypatch, lines):
    left = iter(lines)
    asked = []

    def answer(prompt):
        asked.append(prompt)
        return next(left)

    monkeypatch.setattr("builtins.input", answer)
    return asked


def run(algorithm, trials=10):
    study = mn.Study(SPACE, algorithm, objectives={"score": "max"})
    study.optimize(lambda point: point["n"], trials=trials, progress=False)
    return study


def test_the_terminal_asks_for_active_decisions_and_again_for_wrong_values(monkeypatch, capsys):
    asked = typed(
        monkeypatch,
        ["conv", "5", "9", "2.5", "2", "0.5", "a", "c, a", "pool", "", "", "", "q"],
    )
    study = run(mn.search.create("human"), trials=3)
    first, second = study.trials
    assert dict(first.point) == {"op": "conv", "k": 5, "n": 2, "lr": 0.5, "inputs": ("a", "c")}
    assert second.point["op"] == "pool"
    assert asked[0].startswith("  op (conv, pool) [")
    assert "  k (3, 5, 7) [" in asked[1]
    shown = capsys.readouterr().out
    assert "'9' is none of 1 to 4" in shown
    assert "best so far: trial 0, score = 2" in shown


def test_a_callback_sees_what_was_found_and_ends_the_search():
    seen = []

    def callback(context, trials):
        seen.append([trial.values["score"] for trial in trials])
        if len(trials) == 3:
            return None
        return {"op": "pool", "n": len(trials) + 1, "lr": 0.5, "inputs": ("a", "b")}

    study = run(mn.search.Human(callback))
    assert seen[-1] == [1.0, 2.0, 3.0]
    assert len(study.trials) == 3
    assert "human" in mn.search.names()


def test_a_point_that_is_none_is_an_error():
    with pytest.raises(mn.SpaceError, match="decision 'op' is missing"):
        run(mn.search.Human(lambda context, trials: {"n": 1}))
