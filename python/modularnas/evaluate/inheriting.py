"""Evaluation of children that go on from their parent's weights.

The trained network of every trial is kept, and a child is built from that of its `parent`: morphisms (Elsken, Metzen
and Hutter 2017, arXiv 1711.04528), or any other inheritance that the given `build` does. What an algorithm proposes
without a parent, or whose parent is not kept, is built from nothing.

`Standalone(..., inherit=)` is for candidates that a point alone defines: it builds the child first, then puts into it
what fits of the parent's weights, with fidelities, checkpoints and pruning. Here `build` gets the parent's network and
makes the child of it, since what a morphism widens must compute the same before and after.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from modularnas.errors import EvaluationError

__all__ = ["Inheriting"]


class Inheriting:
    """Builds each candidate on its parent's trained network, trains it and scores it.

    Args:
        build: `build(point, parent) -> net`; parent is `(point, net)` or None. It must not change the parent's net and
            give the same architecture without it. `mn.transform.Morphisms(...).build` is one.
        fit: `fit(net)` trains it, in place.
        score: `score(net) -> float | dict`.
        metric: the name of the metric where `score` returns a number.
        folder: where trained weights are kept, so that a resumed study goes on with them; None: in memory.

    Raises:
        EvaluationError: if one is no function.

    Example:
        >>> x = torch.randn(8, 4)
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> morphisms = mn.transform.Morphisms(net, example=x, steps=4, kinds=["widen_2", "deepen_1"], sites=2)
        >>> evaluator = mn.evaluate.Inheriting(morphisms.build, lambda net: None, lambda net: net(x).mean().item())
        >>> algorithm = mn.search.HillClimbing(children=2, steps=1)
        >>> study = mn.Study(morphisms.space, algorithm, objectives={"accuracy": "max"})
        >>> study.optimize(evaluator, trials=5, progress=False)
        >>> len({round(trial.values["accuracy"], 4) for trial in study.trials})  # untrained, all compute the same
        1
    """

    def __init__(
        self,
        build: Callable[[Any, tuple[Any, nn.Module] | None], nn.Module],
        fit: Callable[[nn.Module], object],
        score: Callable[[nn.Module], Any],
        *,
        metric: str = "accuracy",
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        for name, function in (("build", build), ("fit", fit), ("score", score)):
            if not callable(function):
                raise EvaluationError(f"{name} is a {type(function).__name__}; expected a function")
        self.build = build
        self.fit = fit
        self.score = score
        self.metric = metric
        self.folder = None if folder is None else pathlib.Path(folder)
        self._kept: dict[int, tuple[Any, nn.Module]] = {}

    def evaluate(self, trials: Sequence[Any]) -> list[dict[str, float]]:
        """Builds, trains and scores each trial, in the same order."""
        return [self._evaluate(trial) for trial in trials]

    def net(self, trial: Any) -> nn.Module:
        """The trained network of a trial.

        Raises:
            EvaluationError: if it was not evaluated here.
        """
        found = self._known(trial.number)
        if found is None:
            raise EvaluationError(f"trial {trial.number} was not evaluated here, and its weights are not kept")
        return found[1]

    def _evaluate(self, trial: Any) -> dict[str, float]:
        net = self.build(trial.point, None if trial.parent is None else self._known(trial.parent))
        self.fit(net)
        with torch.no_grad():
            score = self.score(net.eval())
        self._keep(trial.number, trial.point, net)
        return dict(score) if isinstance(score, dict) else {self.metric: float(score)}

    def _keep(self, number: int, point: Any, net: nn.Module) -> None:
        if self.folder is None:
            self._kept[number] = (point, net)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"{number}.pt"
        part = target.with_suffix(".part")
        torch.save({"point": point.to_json(), "weights": net.state_dict()}, part)
        part.replace(target)
        self._kept = {**dict(list(self._kept.items())[-1:]), number: (point, net)}  # the rest is on the disk

    def _known(self, number: int) -> tuple[Any, nn.Module] | None:
        if number in self._kept:
            return self._kept[number]
        file = None if self.folder is None else self.folder / f"{number}.pt"
        if file is None or not file.is_file():
            return None
        saved = torch.load(file, weights_only=True)
        point = json.loads(saved["point"])
        net = self.build(point, None)
        net.load_state_dict(saved["weights"])
        return point, net
