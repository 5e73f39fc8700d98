"""Rank reports and the result card."""

import re

import numpy as np
import pytest

import modularnas as mn


def test_directions_and_text():
    report = mn.evaluate.rank_report([1, 2, 3, 4], [4, 3, 2, 1], directions=("max", "min"), top=2)
    assert (report.kendall, report.spearman, report.regret) == pytest.approx((1.0, 1.0, 0.0))
    text = r"Kendall 1.000 \[1.000, 1.000\], Spearman 1.000 \[.*\], regret of the top 2 0.000 \[0.000, .*\] "
    assert re.fullmatch(text + r"\(4 candidates, 95% bootstrap intervals\)", str(report))


def test_of_few_candidates_a_quarter_is_taken():
    assert mn.evaluate.rank_report(range(8), range(8)[::-1]).top == 2
    assert mn.evaluate.rank_report([1, 2, 3], [3, 2, 1]).regret == 2
    assert mn.evaluate.rank_report(range(400), range(400)).top == 10


def test_intervals_cover_the_truth_as_often_as_they_say():
    # Of a bivariate normal Kendall's tau is 2/pi asin(rho).
    rng, rho, hits = np.random.default_rng(0), 0.6, 0
    for seed in range(100):
        a = rng.normal(size=80)
        b = rho * a + np.sqrt(1 - rho**2) * rng.normal(size=80)
        low, high = mn.evaluate.rank_report(a, b, resamples=300, seed=seed).kendall_interval
        hits += low < 2 / np.pi * np.arcsin(rho) < high
    assert 88 <= hits <= 100


def test_a_plot(tmp_path):
    pytest.importorskip("matplotlib").use("agg")
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60)
    ax = mn.evaluate.rank_report(truth + rng.normal(size=60), truth, resamples=50).plot()
    assert ax.get_xlabel() == "rank by score"
    ax.figure.savefig(tmp_path / "ranks.png")


@pytest.mark.parametrize(
    ("arguments", "settings", "text"),
    [
        (([1], [1, 2]), {}, "a rank report is given 1 scores and 2 references"),
        (([1, float("nan")], [1, 2]), {}, "score 1 is NaN; leave out candidates"),
        ((["a", "b"], [1, 2]), {}, "scores is no list of numbers"),
        (([[1, 2]], [1, 2]), {}, "scores has shape (1, 2); expected (candidates,)"),
        (([1, 2], [1, 2]), {"confidence": 1}, "confidence is 1; expected above 0 and below 1"),
        (([1, 2], [1, 2]), {"top": 0}, "top is 0 and resamples 1000; expected 1 or more"),
        (([1, 2], [1, 2]), {"directions": ("up", "max")}, "directions is ('up', 'max')"),
    ],
)
def test_wrong_use(arguments, settings, text):
    with pytest.raises(mn.EvaluationError) as found:
        mn.evaluate.rank_report(*arguments, **settings)
    assert str(found.value).startswith(text)


def test_comparing_evaluators_leaves_out_failures():
    space = mn.SearchSpace({"n": mn.integer(0, 99)})
    rough = mn.evaluate.Function(lambda p: mn.Failed("odd") if p["n"] % 2 else {"accuracy": p["n"]})
    exact = mn.evaluate.Function(lambda p: {"top1": p["n"]})
    report = mn.evaluate.compare_evaluators(rough, exact, space, reference_metric="top1", n=40)
    assert 2 < report.n < 40
    assert report.kendall == 1.0
    with pytest.raises(mn.EvaluationError, match="0 of 40 candidates have 'accuracy' by the evaluator"):
        mn.evaluate.compare_evaluators(exact, exact, space, n=40)


SPACE = mn.SearchSpace({f"d{i}": mn.choice(range(10)) for i in range(8)})


def size(point):
    return float(sum(point.values()))


def climb(point):
    return {"score": -abs(size(point) - 20), "params": size(point)}


def test_a_card_says_when_search_helped():
    study = mn.Study(SPACE, mn.search.LocalSearch(), objectives={"score": "max"}, seed=0)

    def hard(point):
        return {"score": -sum((value - 4) ** 2 for value in point.values()), "params": size(point)}

    study.optimize(hard, trials=120, progress=False)
    card = study.card(hard, unsearched=-100.0, seeds=4)
    assert [row.name for row in card.rows] == [
        "searched",
        "random search at equal budget",
        "most params",
        "unsearched model",
    ]
    assert [len(row.values) for row in card.rows] == [4, 4, 4, 1]
    assert card.helped is True
    assert card.verdict.startswith("Search helped")
    assert "Kendall" in str(card)
    assert "<li>" in card._repr_html_()


def test_a_card_says_when_search_did_not_help():
    study = mn.Study(
        SPACE, mn.search.RegularizedEvolution(population=10, sample=3), objectives={"score": "max"}, seed=0
    )
    study.optimize(climb, trials=100, progress=False)  # so easy that random search finds the best too
    card = study.card(climb, seeds=3)
    assert card.helped is False
    assert "did not help" in card.verdict
    known = study.card(climb, unsearched=study.best_trial.point, seeds=1)
    assert known.rows[-1].note == f"trial {study.best_trial.number}" or known.rows[-1].values == (0.0,)


def test_a_card_without_an_evaluator_claims_nothing():
    study = mn.Study(
        SPACE, mn.search.RegularizedEvolution(population=10, sample=3), objectives={"score": "max"}, seed=0
    )
    study.optimize(climb, trials=30, progress=False)
    card = study.card(unsearched={f"d{i}": 9 for i in range(8)})
    assert card.helped is None
    assert "random search at equal budget: not measured. study.card(evaluator) runs it." in str(card)
    assert "unsearched model: not measured" in str(card)
    alone = mn.Study(SPACE, "random", objectives={"score": "max"})
    alone.optimize(climb, trials=10, progress=False)
    assert alone.card().verdict == "The search is random search: it cannot help beyond it."


def test_wrong_cards():
    study = mn.Study(SPACE, "random", objectives={"score": "max"})
    with pytest.raises(
        mn.EvaluationError, match=r"the study has no complete trial with 'score' yet \(0 trials in all\)"
    ):
        study.card()
    study.optimize(climb, trials=3, progress=False)
    with pytest.raises(mn.EvaluationError, match="the study has no objective 'macs'; it has score"):
        study.card(metric="macs")
    with pytest.raises(mn.EvaluationError, match="trial . has no metric 'test'; it has"):
        study.card(report="test")
