"""Search by hand: a person, or any function, says what to try next.

Written in Python because it waits for a person: `ask` calls the callback, `tell` only remembers. It is the model for
search algorithms of one's own; the laws are in `src/search/mod.rs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from modularnas import _core
from modularnas.errors import SpaceError
from modularnas.search.algorithm import Algorithm

__all__ = ["Human"]

#: From the context and the finished trials to a point; None: enough.
Callback: TypeAlias = Callable[[Any, Sequence[_core.Trial]], Mapping[str, Any] | None]


class Human(Algorithm):
    """Search by hand: asks at the terminal, or by a callback.

    Trials are asked for one at a time. At the terminal every decision is shown with its values and a random suggestion,
    which an empty line accepts; `q` ends the search.

    Args:
        callback: `callback(context, trials)` returns a point, as a dict of decision name to value, or None to end the
            search; `context` has `space`, `objectives` and `constraints`, `trials` are the finished ones.

    Example:
        >>> space = mn.SearchSpace({"k": mn.choice([3, 5, 7])})
        >>> choices = iter([{"k": 7}, {"k": 3}, None])
        >>> algorithm = mn.search.Human(lambda context, trials: next(choices))
        >>> study = mn.Study(space, algorithm, objectives={"loss": "min"})
        >>> study.optimize(lambda point: point["k"], trials=10, progress=False)
        >>> [trial.point["k"] for trial in study.trials]
        [7, 3]
    """

    name = "human"

    def __init__(self, callback: Callback | None = None) -> None:
        self.settings: dict[str, Any] = {}
        self._callback = callback or at_the_terminal
        self._finished: list[_core.Trial] = []

    def ask(self, context: Any, count: int) -> list[Mapping[str, Any]]:
        """The next point, if there is one."""
        if count < 1:
            return []
        point = self._callback(context, tuple(self._finished))
        return [] if point is None else [point]

    def tell(self, context: Any, finished: Sequence[_core.Trial]) -> None:
        """Remembers the finished trials for the callback."""
        self._finished.extend(finished)


def at_the_terminal(context: Any, trials: Sequence[_core.Trial]) -> Mapping[str, Any] | None:
    """Asks for every decision of a point at the terminal."""
    _say(f"\ntrial {context.next}")
    for trial in _best(context, trials):
        _say(f"  best so far: trial {trial.number}, {_values(trial)}, {dict(trial.point)}")
    if trials:
        _say(f"  last: trial {trials[-1].number}, {_values(trials[-1])}")
    suggestion = context.space.sample(context.rng_seed(0))
    while True:
        chosen = _decisions(context.space, suggestion)
        if chosen is None:
            return None
        try:
            return context.space.point(chosen)  # type: ignore[no-any-return]
        except SpaceError as error:
            _say(f"  {error}")


def _decisions(space: _core.SearchSpace, suggestion: Mapping[str, Any]) -> dict[str, Any] | None:
    """A value for each active decision; None to end the search."""
    chosen: dict[str, Any] = {}
    waiting = list(space.decisions)
    while waiting:
        # A decision whose deciding one is not chosen yet waits; parents have no cycles, so somebody is ready.
        ready = next(d for d in waiting if d.active_if is None or d.active_if[0] not in {w.name for w in waiting})
        waiting.remove(ready)
        if ready.active_if is not None and chosen.get(ready.active_if[0], chosen) not in ready.active_if[1]:
            continue
        default = suggestion.get(ready.name, _first(ready))
        while True:
            text = input(f"  {ready.name} ({_described(ready)}) [{default}]: ").strip()
            if text == "q":
                return None
            try:
                chosen[ready.name] = _read(ready, text) if text else default
                break
            except ValueError:
                _say(f"  '{text}' is none of {_described(ready)}; type a value, nothing for {default}, or q to end")
    return chosen


def _read(decision: _core.Decision, text: str) -> Any:
    """The value that a text means.

    Raises:
        ValueError: it means none.
    """
    if decision.kind == "real":
        return _within(decision, float(text))
    if decision.kind == "integer":
        return _within(decision, int(text))
    labels = {str(label): label for label in decision.choices or ()}
    if decision.kind == "subset":
        picked = [part.strip() for part in text.strip("()").split(",")]
        if len({*picked}) != decision.take or not {*picked} <= {*labels}:
            raise ValueError(text)
        return tuple(labels[part] for part in picked)
    if text not in labels:
        raise ValueError(text)
    return labels[text]


def _within(decision: _core.Decision, value: float) -> float:
    if decision.low is None or decision.high is None or not decision.low <= value <= decision.high:
        raise ValueError(value)
    return value


def _first(decision: _core.Decision) -> Any:
    if decision.choices is None:
        return decision.low
    return decision.choices[: decision.take] if decision.kind == "subset" else decision.choices[0]


def _described(decision: _core.Decision) -> str:
    if decision.choices is None:
        return f"{decision.low} to {decision.high}"
    labels = ", ".join(map(str, decision.choices))
    return f"{decision.take} of {labels}" if decision.kind == "subset" else labels


def _best(context: Any, trials: Sequence[_core.Trial]) -> list[_core.Trial]:
    (metric, direction), *_ = context.objectives.items()
    done = [trial for trial in trials if trial.state == "complete"]
    sign = 1 if direction == "min" else -1
    return sorted(done, key=lambda trial: sign * trial.values[metric])[:1]


def _values(trial: _core.Trial) -> str:
    if trial.state == "failed":
        return f"failed: {trial.error}"
    return ", ".join(f"{name} = {value:.6g}" for name, value in trial.values.items())


def _say(text: str) -> None:
    print(text)
