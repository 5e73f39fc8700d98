"""The one-call form: a model, how to train and how to score it become a searched, trained, exported network.

The stages are those of a pipeline in `out`, so a run that was cut goes on there: the supernet is trained; two searches,
one of them random, score as many networks as the budget allows (decided once, and stored); what each found is trained
further; the given model is trained as well; all three stand in one table. Where latency is asked for, a table of this
machine's layers predicts it in the searches, and the three networks are measured side by side.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from modularnas import evaluate
from modularnas.automatic.opening import open_model
from modularnas.automatic.wrapping import (
    COSTS,
    LATENCY,
    Bounds,
    SeenBatches,
    bounds,
    choose,
    metric_name,
    norm_policy,
    pick_algorithm,
    pick_sampling,
)
from modularnas.errors import PipelineError
from modularnas.evaluate.candidate import Candidate
from modularnas.pipeline import Pipeline, Stage
from modularnas.pipeline.near import near
from modularnas.search import create
from modularnas.study import Study
from modularnas.transform import Supernet, derive, export
from modularnas.transform.rules import Rule
from modularnas.transform.trace import Example

__all__ = ["Automatic", "auto"]

#: The fewest and the most networks that a search scores.
_TRIALS = (16, 1000)
#: Of what is left of the budget after the trainings, the part for the two searches.
_SEARCH_SHARE = 0.8
#: How often the latencies that are compared are measured.
_ROUNDS = 3


@dataclass(frozen=True)
class Automatic:
    """What `mn.auto` made.

    Attributes:
        net: the searched, trained network, in eval mode.
        point: its architecture.
        table: "searched", "random" (search) and "given" (the model as it was, trained as long) to their metrics.
        card: the same as text, with what was chosen and why.
        folder: the run folder; `folder / "network"` holds the exported network.
    """

    net: nn.Module
    point: dict[str, Any]
    table: dict[str, dict[str, float]]
    card: str
    folder: Path

    def __repr__(self) -> str:
        return self.card


def auto(
    model: nn.Module,
    train: Callable[[nn.Module], Any],
    score: Callable[[nn.Module], Any],
    example: Example,
    *,
    objectives: Mapping[str, str] | None = None,
    limits: Bounds | None = None,
    budget: str | float = "1h",
    out: str | Path = "run",
    rules: Sequence[Rule] | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> Automatic:
    """Plans and runs a search around a training and a score.

    Args:
        model: any module; it is not changed.
        train: trains the module that it is given, in place, as long as one training takes; what it returns is ignored.
            It runs five times: for the supernet, the searched network, that of random search, and twice for the given
            model, so that all were trained as long.
        score: `score(net) -> float | dict`, on data for validation.
        example: an input: a tensor, a tuple of arguments, or a dict of keyword arguments.
        objectives: metric to `"max"` or `"min"`: what `score` gives, `params`, `macs`, `activation_bytes`, or
            `latency_ms`, which is that of the example on its device; None: accuracy and multiply-accumulates.
        limits: metric to its largest value, or to `(low, high)`.
        budget: the wall time for everything, such as `"90s"`, `"30m"`, `"1h"`, or seconds. The trainings take what they
            take; what is left goes to the search.
        out: the run folder.
        rules: what may vary; None: whatever fits the model.
        seed: of everything random.
        say: gets what was chosen and why, and what happens.

    Raises:
        RuleError: if nothing in the model can vary.
        PipelineError: if a stage failed, with the reason.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 2))
        >>> x = torch.randn(8, 3, 8, 8)
        >>> def fit(net):
        ...     for _ in range(3):
        ...         net(x).square().mean().backward()
        >>> found = mn.auto(net, fit, lambda net: -net(x).square().mean(), x, budget="1s", say=lambda line: None)
        >>> sorted(found.table)
        ['given', 'random', 'searched']
    """
    budget_s = _seconds(budget)
    goals = {"objectives": dict(objectives or {"accuracy": "max", "macs": "min"}), "limits": dict(limits or {})}
    timed = LATENCY in {*goals["objectives"], *goals["limits"]}
    if timed and not isinstance(example, (Tensor, tuple)):
        raise PipelineError(f"{LATENCY} is asked for and the example is a dict; expected a tensor or a tuple of them")
    opening = open_model(model, example, rules)
    reasons = [*opening.reasons, *_reasons(opening.supernet, **goals)]
    for line in reasons:
        say(line)
    supernet = opening.supernet
    # What is no data counts in the stages' keys by these two.
    given = {"weights": _to_cpu(model.state_dict()), "space": supernet.space.fingerprint}
    user = {"train": train, "score": score, "metric": metric_name(goals["objectives"])}
    trained = {"weights": "train_supernet.weights", "batches": "train_supernet.batches"}
    stages = {
        "train_supernet": Stage(_train_supernet, arguments={"supernet": supernet, **user, **given}),
        "schedule": Stage(
            _schedule,
            {"train_s": "train_supernet.train_s", "score_s": "train_supernet.score_s"},
            arguments={"budget_s": budget_s},
        ),
        "baseline": Stage(_train_given, arguments={"model": model, "supernet": supernet, **user, **given}),
    }
    if timed:
        stages["latency"] = Stage(_latency, arguments={"supernet": supernet, "example": example, **given})
        stages["compare_latency"] = Stage(
            _compare_latency,
            {"searched": "search_searched.point", "random": "search_random.point"},
            arguments={"supernet": supernet, "model": model, "example": example, **given},
        )
    for name in ("searched", "random"):
        stages[f"search_{name}"] = Stage(
            _search,
            {**trained, "trials": "schedule.trials", **({"latency": "latency.table"} if timed else {})},
            arguments={"supernet": supernet, "how": name, "score": score, **goals},
        )
        stages[f"train_{name}"] = Stage(
            _train_found, {"point": f"search_{name}.point", **trained}, arguments={"supernet": supernet, **user}
        )
    results = Pipeline(stages, name="auto").run(out, seed=seed, workers=1, say=say)
    folder, best = Path(out), results["train_searched"]
    net = derive(supernet, results["search_searched"]["point"])
    net.load_state_dict(best["weights"])
    table = {
        "searched": best["values"],
        "random": results["train_random"]["values"],
        "given": results["baseline"]["values"],
    }
    if timed:
        table = {name: {**values, LATENCY: results["compare_latency"][name]} for name, values in table.items()}
    card = _card(table, goals["objectives"], results, reasons)
    (folder / "card.md").write_text(card + "\n", encoding="utf-8")
    say(card)
    export(net.eval(), folder / "network", example=example)
    say(f"the network is in {folder / 'network'}, everything else in {folder}")
    return Automatic(net, results["search_searched"]["point"], table, card, folder)


def _train_supernet(
    supernet: Supernet, train: Any, score: Any, metric: str, weights: Any, space: str, seed: int
) -> dict[str, Any]:
    """Trains all choices; measures how long that, and one score, takes."""
    supernet = copy.deepcopy(supernet)
    seen = SeenBatches()
    hook = supernet.register_forward_pre_hook(seen, with_kwargs=True)
    supernet.train().sampling(pick_sampling(supernet)[0], seed=seed)
    started_s = time.monotonic()
    train(supernet)
    train_s = time.monotonic() - started_s
    hook.remove()
    supernet.sampling(None)
    started_s = time.monotonic()
    _evaluator(supernet, score, metric, seen.batches).evaluate([Candidate(0, supernet.space.sample(seed=seed))])
    score_s = time.monotonic() - started_s
    trained = {"weights": _to_cpu(supernet.state_dict()), "batches": seen.batches}
    return {**trained, "train_s": train_s, "score_s": score_s}


def _schedule(train_s: float, score_s: float, budget_s: float) -> dict[str, Any]:
    """How many networks the budget allows for each of two searches, beside five trainings."""
    left_s = budget_s - 5 * train_s
    return {"trials": int(min(max(_SEARCH_SHARE * left_s / 2 / max(score_s, 1e-6), _TRIALS[0]), _TRIALS[1]))}


def _search(
    supernet: Supernet,
    weights: Any,
    batches: Any,
    trials: int,
    how: str,
    score: Any,
    objectives: dict[str, str],
    limits: dict[str, Any],
    seed: int,
    folder: Path,
    latency: dict[str, Any] | None = None,
) -> dict[str, Any]:
    supernet = copy.deepcopy(supernet)
    supernet.load_state_dict(weights)
    algorithm = create("random") if how == "random" else pick_algorithm(objectives, trials)
    study = Study(supernet.space, algorithm, objectives, bounds(limits), storage=folder / "study.db", seed=seed)
    evaluator: Any = _evaluator(supernet, score, metric_name(objectives), batches)
    given_costs = {}
    if latency is not None:
        table = evaluate.LatencyTable.from_json(json.dumps(latency))
        evaluator = evaluate.Joined(evaluator, table)
        if supernet.original_point is not None:
            given_costs[LATENCY] = table.predict(supernet.original_point)
    study.optimize(evaluator, trials=trials, progress=False)
    best = choose(study, supernet, limits, given_costs)
    front = [{"point": dict(trial.point), "values": trial.values} for trial in study.pareto_front]
    return {"point": dict(best.point), "values": best.values, "front": front, "algorithm": str(algorithm)}


def _train_found(
    supernet: Supernet, weights: Any, batches: Any, point: Any, train: Any, score: Any, metric: str
) -> dict[str, Any]:
    supernet = copy.deepcopy(supernet)
    supernet.load_state_dict(weights)
    net = derive(supernet, point)
    if norm_policy(net, batches) == "recalibrate":
        evaluate.recalibrate(net, batches)
    return {"weights": _trained(net, train), "values": {**supernet.cost(point), **_score(net, score, metric)}}


def _train_given(
    model: nn.Module, supernet: Supernet, train: Any, score: Any, metric: str, weights: Any, space: str
) -> dict[str, Any]:
    net = copy.deepcopy(model)
    point = supernet.original_point
    costs = {} if point is None else supernet.cost(point)
    train(net.train())  # twice, since what is found was trained as part of the supernet before
    return {"weights": _trained(net, train), "values": {**costs, **_score(net, score, metric)}}


def _latency(supernet: Supernet, example: Any, weights: Any, space: str, seed: int) -> dict[str, Any]:
    """What the layers of the supernet take on this machine."""
    table = evaluate.LatencyTable.measure(supernet.eval(), example, _device(example), seed=seed)
    return {"table": json.loads(table.to_json())}


def _compare_latency(
    supernet: Supernet,
    model: nn.Module,
    example: Any,
    searched: Any,
    random: Any,
    weights: Any,
    space: str,
) -> dict[str, float]:
    """The three networks, measured in turns so that a slow minute harms none alone; the least of each."""
    nets = {"searched": derive(supernet, searched), "random": derive(supernet, random), "given": copy.deepcopy(model)}
    rounds = [
        {name: evaluate.measure_latency(net, example, device=_device(example)).median_ms for name, net in nets.items()}
        for _ in range(_ROUNDS)
    ]
    return {name: min(measured[name] for measured in rounds) for name in nets}


def _device(example: Any) -> torch.device:
    return next((leaf.device for leaf in tree_leaves(example) if isinstance(leaf, Tensor)), torch.device("cpu"))


def _trained(net: nn.Module, train: Any) -> dict[str, Tensor]:
    train(net.train())
    return _to_cpu(net.state_dict())


def _score(net: nn.Module, score: Any, metric: str) -> dict[str, float]:
    with torch.no_grad():
        value = score(net.eval())
    return {name: float(v) for name, v in (value if isinstance(value, Mapping) else {metric: value}).items()}


def _evaluator(supernet: Supernet, score: Any, metric: str, batches: Any) -> evaluate.SharedWeights:
    policy = norm_policy(supernet, batches)
    return evaluate.SharedWeights(supernet.eval(), score, metric=metric, batch_norm=policy, calibration=batches)


def _to_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


def _seconds(budget: str | float) -> float:
    if isinstance(budget, (int, float)) and budget > 0:
        return float(budget)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d)\s*", str(budget))
    if match is None:
        raise PipelineError(f"budget is {budget!r}; expected such as '90s', '30m', '1h', '2d', or seconds")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def _reasons(supernet: Supernet, objectives: Mapping[str, str], limits: Bounds) -> list[str]:
    """What is chosen besides the rules, and why."""
    known = [*COSTS, LATENCY, *objectives]
    for name in limits:
        if name not in known:
            raise PipelineError(f"limits names '{name}'{near(name, known)}")
    goals = ", ".join(f"{direction} {name}" for name, direction in objectives.items())
    several = len(objectives) > 1
    lines = [
        f"space: {supernet.space}",
        f"supernet training: your own, as it is; each step takes a network, {pick_sampling(supernet)[1]}",
        "batch norms: measured anew for every network, on the first batches that your training used"
        if norm_policy(supernet, [0]) == "recalibrate"
        else "batch norms: there are none",
        f"search: {'NSGA-II, for several objectives' if several else 'regularized evolution, for one objective'} "
        f"({goals}); random search beside it, as long",
    ]
    if LATENCY in {*objectives, *limits}:
        lines.append(
            f"{LATENCY}: predicted from a table of the layers' times on this machine, corrected by whole networks, "
            "since measuring every candidate would take most of the budget; the networks in the result are measured"
        )
    if limits:
        lines.append(f"limits: {json.dumps(dict(limits))}; random networks are drawn within those on costs")
    return lines


def _card(
    table: Mapping[str, Mapping[str, float]],
    objectives: Mapping[str, str],
    results: Mapping[str, Any],
    reasons: Sequence[str],
) -> str:
    """What came out, whether the search helped, and what was chosen."""
    metrics = list(dict.fromkeys([*objectives, *table["searched"]]))
    trials, timed = results["schedule"]["trials"], results["train_supernet"]
    notes = {
        "searched": f"{results['search_searched']['algorithm']}, {trials} networks, trained further",
        "random": f"random search, {trials} networks, trained further",
        "given": "the model as it was, trained twice",
    }
    lines = [f"| | {' | '.join(metrics)} | |", f"|---|{'---|' * (len(metrics) + 1)}"]
    for name, values in table.items():
        cells = " | ".join(f"{values[m]:.6g}" if m in values else "" for m in metrics)
        lines.append(f"| {name} | {cells} | {notes[name]} |")
    metric, direction = next(iter(objectives.items()))
    sign = 1 if direction == "max" else -1
    best = max(table, key=lambda name: sign * table[name].get(metric, -sign * float("inf")))
    verdicts = {
        "searched": "",
        "random": "; the search did not beat random search here",
        "given": "; the search did not help here",
    }
    scheduled = (
        f"{trials} networks a search: a training took {timed['train_s']:.1f} s and there are five, a score "
        f"{timed['score_s']:.2f} s"
    )
    reasons = [*reasons, scheduled]
    return "\n".join([*lines, "", f"Best {metric}: {best}{verdicts[best]}.", "", *(f"- {line}" for line in reasons)])
