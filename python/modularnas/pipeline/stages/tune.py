"""Tune: a study over the hyper-parameters of the training of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from torch import Tensor

from modularnas import _core
from modularnas.pipeline.checkpoint import seed_everything
from modularnas.pipeline.stages.epochs import run_epochs
from modularnas.pipeline.stages.network import load_network
from modularnas.pipeline.stages.task import make_task
from modularnas.search import create
from modularnas.study import Study
from modularnas.tuning import parse_parameter

__all__ = ["Tuned", "tune"]


class Tuned(TypedDict):
    """The best hyper-parameters."""

    best: dict[str, Any]
    accuracy: float
    trials: list[dict[str, Any]]


def tune(
    network: dict[str, Any],
    weights: dict[str, Tensor],
    folder: Path,
    seed: int,
    parameters: dict[str, str],
    trials: int,
    epochs: int,
    algorithm: str = "tpe",
    settings: dict[str, Any] | None = None,
    metric: str = "accuracy",
) -> Tuned:
    """Tunes how a network is trained.

    Args:
        network: from `derive`.
        weights: every trial starts from.
        folder: given; it gets the study's file, in which a cut stage goes on.
        seed: of the search, and of every trial's training.
        parameters: argument of the training (`lr`, `momentum`, `weight_decay`, `clip`) to what it may be, such as
            `"log(1e-3, 1e-1)"`, `"real(0, 1)"`, `"choice(0.8, 0.9)"`.
        trials: how many trainings.
        epochs: of each.
        algorithm: a name of `mn.search.names()`.
        settings: of the algorithm.
        metric: the task's metric to maximise, on the validation part.

    Returns:
        `best`, the hyper-parameters with the best `accuracy`, and all `trials`.
    """
    task = make_task(network["task"])
    space = _core.SearchSpace(dict(parse_parameter(f"{name}={text}") for name, text in parameters.items()))

    def evaluate(point: Any) -> dict[str, float]:
        seed_everything(seed)
        net, _ = load_network(network, weights)

        def step(batch: Any, optimizer: Any) -> Tensor:
            loss = task.loss(net, batch)
            loss.backward()
            return loss

        run_epochs(net, task, epochs, step, None, None, **{"lr": 0.02, **point})
        return task.score(net.eval(), "valid")

    study = Study(space, create(algorithm, **(settings or {})), {metric: "max"}, storage=folder / "study.db", seed=seed)
    study.optimize(evaluate, trials=trials, progress=False)
    best = study.best_trial
    rows = [{"point": dict(trial.point), "values": trial.values} for trial in study.trials]
    return {"best": dict(best.point), "accuracy": best.values[metric], "trials": rows}
