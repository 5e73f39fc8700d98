"""Search algorithms written in Python, through the same protocol as the built-in ones."""

import random

import pytest

import modularnas as mn


class Climb:
    """Random until something is known, then a neighbour of the best."""

    def __init__(self):
        self.best = None

    def ask(self, context, count):
        points = []
        for offset in range(count):
            rng = random.Random(context.rng_seed(offset))
            if self.best is None:
                points.append(context.space.sample(seed=rng.randrange(2**32)))
            else:
                points.append(rng.choice(context.space.neighbours(self.best[1])))
        return points

    def tell(self, context, finished):
        (metric,) = context.objectives
        for trial in finished:
            if trial.state == "complete" and (self.best is None or trial.values[metric] > self.best[0]):
                self.best = (trial.values[metric], trial.point)


def study(algorithm, storage=None):
    return mn.Study(
        mn.SearchSpace({f"d{i}": mn.integer(0, 9) for i in range(4)}), algorithm, {"s": "max"}, None, storage
    )


def total(point):
    return float(sum(point.values()))


def test_it_searches_and_resumes(tmp_path):
    whole = study(Climb())
    whole.optimize(total, trials=150, progress=False)
    assert whole.best_trial.values["s"] > 30
    for cut in (1, 17, 60):
        file = tmp_path / f"{cut}.db"
        study(Climb(), file).optimize(total, trials=cut, progress=False)
        resumed = study(Climb(), file)
        resumed.optimize(total, trials=60, progress=False)
        assert [t.point for t in resumed.trials] == [t.point for t in whole.trials[:60]]


def test_a_file_remembers_the_class(tmp_path):
    study(Climb(), tmp_path / "run.db")

    class Other(Climb):
        pass

    with pytest.raises(mn.StudyError, match=r"search algorithm: 'Climb' in the file, '.*Other' given"):
        study(Other(), tmp_path / "run.db")


def test_its_proposals_may_be_dicts_or_say_more():
    class Wanted:
        def __init__(self, point, fidelity, parent):
            self.point, self.fidelity, self.parent = point, fidelity, parent

    class Fixed:
        def ask(self, context, count):
            point = {f"d{i}": context.next for i in range(4)}
            return [point] if context.next < 2 else [Wanted(point, 0.5, 1)] if context.next == 2 else []

        def tell(self, context, finished):
            assert context.running == []

    s = study(Fixed())
    s.optimize(total, trials=10, progress=False)
    assert [(t.point["d3"], t.fidelity, t.parent) for t in s.trials] == [(0, 1.0, None), (1, 1.0, None), (2, 0.5, 1)]


def test_running_trials_are_shown_to_ask():
    seen = []

    class Look(Climb):
        def ask(self, context, count):
            seen.append([t.number for t in context.running])
            return super().ask(context, count)

    s = study(Look())
    s.ask(2)
    s.tell(0, 1.0)
    s.ask(1)
    assert seen == [[], [1]]


@pytest.mark.parametrize("where", ["ask", "tell"])
def test_its_exceptions_pass_and_what_was_told_stays(tmp_path, where):
    class Broken(Climb):
        broken = True

        def ask(self, context, count):
            if self.broken and where == "ask" and context.next == 3:
                raise KeyError("mine")
            return super().ask(context, count)

        def tell(self, context, finished):
            if self.broken and where == "tell" and finished[-1].number == 2:
                raise KeyError("mine")
            super().tell(context, finished)

    s = study(Broken(), tmp_path / "run.db")
    with pytest.raises(KeyError, match="mine") as error:
        s.optimize(total, trials=9, progress=False)
    assert error.traceback[-1].name == where
    del s
    whole = Broken()
    whole.broken = False
    again = study(whole, tmp_path / "run.db")
    assert [t.state for t in again.trials] == ["complete"] * 3
    again.optimize(total, trials=9, progress=False)
    assert len(again.trials) == 9


def test_wrong_proposals_are_refused():
    class Wrong(Climb):
        def __init__(self, answer):
            self.answer = answer

        def ask(self, context, count):
            return self.answer

    with pytest.raises(mn.SpaceError, match="decision 'd1' is missing"):
        study(Wrong([{"d0": 1}])).ask()
    point = {f"d{i}": 0 for i in range(4)}
    with pytest.raises(mn.SearchError) as error:
        study(Wrong([point, point])).ask()
    assert str(error.value) == ("the search algorithm proposed 2 points where 1 were asked; return at most as many")


def test_it_may_not_use_its_own_study():
    class Nosy(Climb):
        def ask(self, context, count):
            s.trials  # noqa: B018

    s = study(Nosy())
    with pytest.raises(mn.StudyError) as error:
        s.ask()
    assert str(error.value) == (
        "the study was used from inside its own search algorithm; use what ask and tell are given"
    )
    assert s.trials == []
