"""Hill climbing by growth: children of the best network so far, each some random steps further.

Elsken, Metzen and Hutter 2017, "Simple and Efficient Architecture Search for Convolutional Neural Networks" (NASH),
arXiv 1711.04528, algorithm 1: every generation has `children` trials, each the parent with `steps` more random steps,
inheriting its weights (`Trial.parent`); the last child is the parent itself, trained for as long as the others, so that
growth alone is not rewarded. The best of a generation is the next parent. A space is a sequence of decisions that ends
at its first `"stop"`, as `mn.transform.Morphisms` makes it. Eight children and five steps are the paper's. What is
asked for while all children are running is one child more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modularnas import _core
from modularnas.errors import SearchError
from modularnas.search.algorithm import Algorithm

__all__ = ["HillClimbing"]

STOP = "stop"


@dataclass(frozen=True)
class _Child:
    """A proposal."""

    point: Any
    parent: int | None
    fidelity: float = 1.0


class HillClimbing(Algorithm):
    """Hill climbing by growth (NASH).

    Args:
        children: trials a generation.
        steps: how much longer a child's sequence is than its parent's.

    Raises:
        SearchError: with several objectives, or in a space that is no sequence with a `"stop"`.

    Example:
        >>> sequence = {"d0": mn.choice(["stop", "a", "b"])}
        >>> for i in range(1, 9):
        ...     sequence[f"d{i}"] = mn.choice(["stop", "a", "b"], active_if=(f"d{i - 1}", ["a", "b"]))
        >>> algorithm = mn.search.HillClimbing(children=3, steps=2)
        >>> study = mn.Study(mn.SearchSpace(sequence), algorithm, objectives={"b": "max"})
        >>> study.optimize(lambda point: list(point.values()).count("b"), trials=13, progress=False)
        >>> [trial.parent for trial in study.trials][:5]
        [None, 0, 0, 0, 2]
    """

    name = "hill_climbing"

    def __init__(self, children: int = 8, steps: int = 5) -> None:
        if children < 1 or steps < 1:
            raise SearchError(f"hill climbing has {children} children and {steps} steps; expected at least one of each")
        self.settings: dict[str, Any] = {"children": children, "steps": steps}
        self._parent: _core.Trial | None = None
        self._first = 0  # the trial with which the generation begins
        self._told: list[_core.Trial] = []

    def ask(self, context: Any, count: int) -> list[_Child]:
        """The given network first, then children of the best one."""
        if len(context.objectives) != 1:
            raise SearchError(f"hill climbing is given {len(context.objectives)} objectives; expected one")
        if self._parent is None:
            return [_Child(_grown(context.space, [], 0, random.Random(0)), None) for _ in range(count)]
        children, steps = self.settings["children"], self.settings["steps"]
        sequence = [value for value in self._parent.point.values() if value != STOP]
        proposals = []
        for offset in range(count):
            itself = (context.next + offset - self._first) % children == children - 1
            rng = random.Random(context.rng_seed(offset))
            point = _grown(context.space, sequence, 0 if itself else steps, rng)
            proposals.append(_Child(point, self._parent.number))
        return proposals

    def tell(self, context: Any, finished: Sequence[_core.Trial]) -> None:
        """Ends a generation when all of its children are known."""
        ((metric, direction),) = context.objectives.items()
        for trial in finished:
            self._told.append(trial)
            complete = [trial for trial in self._told if trial.state == "complete"]
            if not complete or (self._parent is not None and len(self._told) < self.settings["children"]):
                continue
            sign = 1 if direction == "max" else -1
            self._parent = max(complete, key=lambda t: (_within(t, context.constraints), sign * t.values[metric]))
            self._first = trial.number + 1
            self._told = []


def _within(trial: _core.Trial, constraints: dict[str, Any]) -> bool:
    for metric, (low, high) in constraints.items():
        value = trial.values.get(metric)
        if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
            return False
    return True


def _grown(space: _core.SearchSpace, sequence: Sequence[Any], steps: int, rng: random.Random) -> dict[str, Any]:
    """A sequence with more random steps, as a point; as many as have room."""
    decisions = space.decisions
    if any(decision.choices is None or STOP not in decision.choices for decision in decisions):
        raise SearchError('hill climbing needs decisions with a "stop", such as those of mn.transform.Morphisms')
    values = list(sequence)
    for decision in decisions[len(sequence) : len(sequence) + steps]:
        values.append(rng.choice([label for label in decision.choices or () if label != STOP]))
    if len(values) < len(decisions):
        values.append(STOP)
    return {decision.name: value for decision, value in zip(decisions, values, strict=False)}
