"""A search around a training script that stays as it is: one line after the model is made, one after it is trained."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from modularnas import evaluate, search
from modularnas.automatic.opening import open_model
from modularnas.errors import NetworkError, StudyError
from modularnas.study import Study
from modularnas.transform import Supernet, derive, export
from modularnas.transform.rules import Rule
from modularnas.transform.trace import Example

__all__ = [
    "SeenBatches",
    "bounds",
    "choose",
    "conclude",
    "metric_name",
    "norm_policy",
    "pick_algorithm",
    "pick_sampling",
    "searchable",
    "seen_batches",
]

Bounds = Mapping[str, Any]

#: What supernets know without measuring.
COSTS = ("params", "macs", "activation_bytes")
#: What is measured on the machine at hand.
LATENCY = "latency_ms"
#: What varies where small networks are parts of large ones.
_ELASTIC = ("width", "expansion", "depth")


class SeenBatches:
    """Keeps the first inputs that a supernet is trained on, to measure batch norms with."""

    def __init__(self, n: int = 8) -> None:
        self.n = n
        self.batches: list[Any] = []

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A forward pre-hook."""
        if module.training and len(self.batches) < self.n and (args or kwargs):
            given = dict(kwargs) if kwargs else args[0]
            self.batches.append(tree_map_only(Tensor, lambda t: t.detach().cpu().clone(), given))


def searchable(
    model: nn.Module,
    example: Example,
    rules: Sequence[Rule] | None = None,
    *,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> Supernet:
    """Makes a model a supernet that the training script at hand trains: the first of two lines.

    Put it after the line that makes the model, before torch optimizers are made. In train mode every forward takes
    another architecture by itself, by the sandwich rule or at random, which is said. The second line is `mn.conclude`,
    after the training.

    Args:
        model: any module; it is not changed.
        example: an input of it: a tensor, a tuple of arguments, or a dict of keyword arguments.
        rules: what may vary; None: whatever fits the model, which is said.
        seed: of the architectures drawn.
        say: gets what was chosen and why, line by line.

    Raises:
        RuleError: if nothing in the model can vary.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 2))
        >>> x = torch.randn(4, 3, 8, 8)
        >>> net = mn.searchable(net, example=x, say=lambda line: None)
        >>> loss = net(x).square().mean()  # your training loop
        >>> best = mn.conclude(net, score=lambda n: -n(x).square().mean(), trials=4, out="best", say=lambda line: None)
        >>> isinstance(best, nn.Sequential)
        True
    """
    opening = open_model(model, example, rules)
    supernet = opening.supernet
    for line in opening.reasons:
        say(f"modularnas: {line}")
    policy, why = pick_sampling(supernet)
    say(f"modularnas: {supernet.space}; every training step takes one of them, {why}")
    _show_signature(supernet)
    supernet.__dict__["_example"] = example
    supernet.__dict__["_seen"] = seen = SeenBatches()
    supernet.register_forward_pre_hook(seen, with_kwargs=True)
    return supernet.sampling(policy, seed=seed)


def conclude(
    model: nn.Module,
    score: Callable[[nn.Module], Any],
    *,
    objectives: Mapping[str, str] | None = None,
    limits: Bounds | None = None,
    trials: int = 200,
    algorithm: Any = None,
    calibration: Any = None,
    out: str | Path | None = "best",
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Searches a trained supernet, and writes and returns the best network: the second of two lines.

    Under `torch.distributed` the first process searches, and all return the same network.

    Args:
        model: what `mn.searchable` returned and the script trained; in `DistributedDataParallel` as well.
        score: `score(net) -> float | dict`: what the script calls to validate a model.
        objectives: metric to `"max"` or `"min"`; None: accuracy and multiply-accumulates.
        limits: metric to its largest value, or to `(low, high)`.
        trials: how many networks are scored.
        algorithm: one of `mn.search`; None: NSGA-II for several objectives, else regularized evolution.
        calibration: batches to measure batch norms with; None: the first ones that the script trained on.
        out: a folder for the study and the exported network; None: nothing is written.
        seed: of the search.
        say: gets what was chosen and why, line by line.

    Returns:
        A plain network with the weights it inherits, in eval mode; train it further, or use it.

    Raises:
        NetworkError: if the model is no supernet.
        StudyError: if no network keeps the limits.
    """
    supernet = getattr(model, "module", model) if not isinstance(model, Supernet) else model
    if not isinstance(supernet, Supernet):
        raise NetworkError(f"conclude is given a {type(model).__name__}; expected what mn.searchable returned")
    supernet.sampling(None)
    supernet.eval()
    objectives = dict(objectives or {"accuracy": "max", "macs": "min"})
    batches = seen_batches(supernet) if calibration is None else calibration
    policy = norm_policy(supernet, batches)
    point = None
    if _rank() == 0:
        evaluator = evaluate.SharedWeights(
            supernet, score, metric=metric_name(objectives), batch_norm=policy, calibration=batches
        )
        algorithm = algorithm or pick_algorithm(objectives, trials)
        say(f"modularnas: {algorithm}, {trials} networks with the weights they share, batch norms: {policy}")
        storage = None
        if out is not None:
            Path(out).mkdir(parents=True, exist_ok=True)
            storage = Path(out) / "study.db"
        study = Study(supernet.space, algorithm, objectives, bounds(limits), storage=storage, seed=seed)
        study.optimize(evaluator, trials=trials)
        best = choose(study, supernet, limits)
        values = ", ".join(f"{name} {value:.6g}" for name, value in best.values.items())
        say(f"modularnas: trial {best.number} of a front of {len(study.pareto_front)}: {values}")
        point = dict(best.point)
    net = derive(supernet, _from_first(point)).eval()
    if policy == "recalibrate":
        evaluate.recalibrate(net, batches)
    for tensor in net.state_dict().values() if _distributed() else ():
        torch.distributed.broadcast(tensor, src=0)
    example = supernet.__dict__.get("_example")
    if _rank() == 0 and out is not None and example is not None:
        say(f"modularnas: exported to {export(net, Path(out) / 'network', example=example)}")
    return net


def _show_signature(supernet: Supernet) -> None:
    """Gives `forward` the signature of the model's: frameworks read it to know which inputs to hand over."""

    def forward(self: Supernet, *args: Any, **kwargs: Any) -> Any:
        return Supernet.forward(self, *args, **kwargs)

    signature = inspect.signature(supernet.model.forward)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    forward.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[itself, *signature.parameters.values()]
    )
    supernet.__dict__["forward"] = types.MethodType(forward, supernet)


def seen_batches(supernet: Supernet) -> list[Any]:
    """The first inputs that a supernet from `searchable` was trained on."""
    seen = supernet.__dict__.get("_seen")
    return seen.batches if isinstance(seen, SeenBatches) else []


def norm_policy(net: nn.Module, batches: Any) -> str:
    """Batch norms are measured anew for each sub-network where there are some, and batches to do it with."""
    normed = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())
    return "recalibrate" if normed and batches else "none"


def pick_sampling(supernet: Supernet) -> tuple[str, str]:
    """How paths are drawn in training, and why: a policy of `supernet.sampling`, and a reason.

    Where small networks are parts of large ones, random paths seldom train the ends of the range, from which all others
    take their weights (BigNAS, arXiv 2003.11142, section 3.1); operators side by side share nothing, so none has ends.
    """
    kinds = [row.text.partition(":")[0] for row in supernet.report().rows if row.state == "searchable"]
    n_elastic = sum(kind in _ELASTIC for kind in kinds)
    if not n_elastic:
        return "uniform", "at random, each value of a decision as often: no width or depth varies"
    low, high = (supernet.cost(point)["macs"] / 1e6 for point in supernet.space.extremes("macs"))
    return "sandwich", (
        f"by the sandwich rule (the largest, two at random, the smallest in turn): {n_elastic} widths and depths cut "
        f"networks of {low:.3g} to {high:.3g} million multiply-accumulates out of one set of weights"
    )


def metric_name(objectives: Mapping[str, str]) -> str:
    """What a score that is a number is: the first objective that is no cost."""
    return next((name for name in objectives if name not in (*COSTS, LATENCY)), "accuracy")


def pick_algorithm(objectives: Mapping[str, str], trials: int) -> Any:
    """NSGA-II for several objectives, else regularized evolution; four generations at least."""
    population = max(4, min(50, trials // 4))
    if len(objectives) > 1:
        return search.create("nsga2", population=population)
    return search.create("regularized_evolution", population=population, sample=max(2, population // 4))


def bounds(limits: Bounds | None) -> dict[str, tuple[float | None, float | None]]:
    """Limits as constraints: a number is the largest value."""
    return {
        name: tuple(limit) if isinstance(limit, (tuple, list)) else (None, float(limit))
        for name, limit in (limits or {}).items()
    }


def choose(
    study: Study, supernet: Supernet, limits: Bounds | None, given_costs: Mapping[str, float] | None = None
) -> Any:
    """The best trial by the first objective; where other objectives are costs without limits, no costlier than given.

    Args:
        study: done.
        supernet: it knows the costs of the given architecture.
        limits: as in `conclude`.
        given_costs: further costs of the given architecture.

    Raises:
        StudyError: if no trial keeps the limits.
    """
    front = study.pareto_front
    kept = [trial for trial in front if _inside(trial.values, bounds(limits))]
    if not kept:
        raise StudyError(f"none of {len(study.trials)} networks keeps the limits {dict(limits or {})}; widen them")
    given = supernet.original_point
    costs = {**({} if given is None else supernet.cost(given)), **(given_costs or {})}
    own = {name: (None, costs[name]) for name in study.objectives if name in costs and name not in (limits or {})}
    affordable = [trial for trial in kept if _inside(trial.values, own)]
    metric, direction = next(iter(study.objectives.items()))
    return (max if direction == "max" else min)(affordable or kept, key=lambda trial: trial.values[metric])


def _inside(values: Mapping[str, float], limits: Mapping[str, tuple[float | None, float | None]]) -> bool:
    return all(
        (low is None or values[name] >= low) and (high is None or values[name] <= high)
        for name, (low, high) in limits.items()
    )


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _rank() -> int:
    return torch.distributed.get_rank() if _distributed() else 0


def _from_first(value: Any) -> Any:
    """What the first process has, in all processes."""
    box = [value]
    if _distributed():
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
