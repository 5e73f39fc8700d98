"""Morph: a trained network grows by function-keeping morphisms, hill climbing on its validation score (NASH).

Elsken, Metzen and Hutter 2017, arXiv 1711.04528: children of the best network so far get some random morphisms, inherit
its weights and train for a few epochs.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from modularnas import evaluate, search, transform
from modularnas.pipeline.checkpoint import seed_everything
from modularnas.pipeline.execute import resolve
from modularnas.pipeline.stages.epochs import run_epochs
from modularnas.pipeline.stages.network import to_cpu
from modularnas.pipeline.stages.task import make_task
from modularnas.study import Study

__all__ = ["Morphed", "grown", "morph", "plain_network"]


class Morphed(TypedDict):
    """The best network that grew, and the one that it grew from."""

    network: dict[str, Any]
    weights: dict[str, Tensor]
    given_network: dict[str, Any]
    given_weights: dict[str, Tensor]
    values: dict[str, float]
    trials: list[dict[str, Any]]


def morph(
    model: str,
    example: list[int],
    task: dict[str, Any],
    folder: Path,
    seed: int,
    arguments: dict[str, Any] | None = None,
    trials: int = 16,
    children: int = 4,
    steps: int = 2,
    first_epochs: int = 2,
    epochs: int = 1,
    lr: float = 0.02,
    metric: str = "accuracy",
) -> Morphed:
    """Grows a network.

    Args:
        model: `"module:function"` or `"file.py:function"` that returns the network to start from.
        example: the shape of an input, batch included.
        task: data, loss and score, as in `construct`.
        folder: given; it gets the study's file and the weights of all trials, with which a cut stage goes on.
        seed: of everything random.
        arguments: of the function.
        trials: how many networks in all.
        children: of a generation.
        steps: morphisms between a parent and a child.
        first_epochs: the network is trained so long before it grows.
        epochs: each child is trained so long.
        lr: the first learning rate of SGD; cosine decay.
        metric: the task's metric to maximise, on the validation part.

    Returns:
        `network`, the description of the best, for `train`, `evaluate` and `export`; its `weights` and `values`;
        `given_network` and `given_weights`, the network that it grew from, trained for `first_epochs`; all `trials`.
    """
    made = make_task(task)
    torch.manual_seed(seed)
    net = resolve(model)(**(arguments or {}))

    def fit(net: nn.Module, n: int = epochs) -> None:
        seed_everything(seed)

        def step(batch: Any, optimizer: Any) -> Tensor:
            loss = made.loss(net, batch)
            loss.backward()
            return loss

        run_epochs(net, made, n, step, None, None, lr=lr)

    fit(net, first_epochs)
    x = next(iter(made.batches("valid")))[0][: example[0]]
    morphisms = transform.Morphisms(net.eval(), example=x, steps=steps * (trials // children + 1))
    evaluator = evaluate.Inheriting(
        morphisms.build, fit, lambda net: made.score(net.eval(), "valid"), folder=folder / "weights"
    )
    study = Study(
        morphisms.space,
        search.HillClimbing(children=children, steps=steps),
        {metric: "max"},
        storage=folder / "study.db",
        seed=seed,
    )
    study.optimize(evaluator, trials=trials, progress=False)
    best = study.best_trial
    trained = copy.deepcopy(evaluator.net(best)).eval()
    description = {
        "build": "modularnas.pipeline.stages.morph:grown",
        "point": dict(best.point),
        "arguments": {"model": model, "arguments": arguments or {}, "example": example, "steps": len(morphisms.space)},
        "example": example,
        "task": task,
        "seed": seed,
    }
    return {
        "network": description,
        "weights": to_cpu(trained.state_dict()),
        "given_network": {**description, "point": {"morphism_0": "stop"}},
        "given_weights": to_cpu(net.state_dict()),
        "values": best.values,
        "trials": [{"point": dict(trial.point), "values": trial.values} for trial in study.trials],
    }


def grown(point: dict[str, Any], model: str, arguments: dict[str, Any], example: list[int], steps: int) -> nn.Module:
    """The network of a point, with weights made anew."""
    net = resolve(model)(**arguments).eval()
    return transform.Morphisms(net, example=torch.randn(example), steps=steps).build(point)


def plain_network(channels: int = 64, num_classes: int = 10) -> nn.Module:
    """The network that the paper grows from: three convolutions with pooling between them (section 5.1)."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *block(3, channels),
        nn.MaxPool2d(2),
        *block(channels, 2 * channels),
        nn.MaxPool2d(2),
        *block(2 * channels, 2 * channels),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * channels, num_classes),
    )
