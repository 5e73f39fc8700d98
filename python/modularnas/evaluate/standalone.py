"""Evaluation from scratch: every candidate is built and trained by the user's own function, then scored.

The multi-trial method (Zoph and Le 2016, arXiv 1611.01578). What makes it affordable is here too: low fidelities
train less (Li et al. 2016, "Hyperband", arXiv 1603.06560), a promoted trial goes on from its checkpoint, a child may
inherit its parent's weights (Jaderberg et al. 2017, "Population Based Training", arXiv 1711.09846; Real et al. 2017,
arXiv 1703.01041), and a trial that lags behind is ended early by the study's pruner.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from modularnas.errors import EvaluationError
from modularnas.evaluate.candidate import Source, network_of
from modularnas.evaluate.randomness import isolated
from modularnas.evaluate.values import values_of
from modularnas.outcome import Failed, Pruned

__all__ = ["Standalone", "inherit_matching"]

_Amount: TypeAlias = float | tuple[float, float]
_State: TypeAlias = dict[str, Any]


class Standalone:
    """Trains and scores each candidate by functions of the user.

    Args:
        build: `build(point) -> nn.Module`, or a supernet, whose derived networks inherit its weights.
        fit: `fit(model, **amounts)` trains it in place (or returns the trained model). It may take, by these names,
            `trial` (for `trial.report` and `trial.should_prune`) and `checkpoint`, a dict that is kept with the weights
            and is empty at first: for the state of an optimizer. A generator is asked for its next epoch until it ends:
            at every `yield` the model is scored and reported, and the trial ends when it should be pruned. Returning
            `mn.Pruned` or `mn.Failed` ends it too. None: no training.
        score: `score(model) -> float | dict`, on the model in eval mode.
        metric: the name of the metric where `score` returns a number; what is reported where it returns a dict.
        fidelity: what a fidelity below 1 lowers: an argument of `fit` to its value at full fidelity. A whole number is
            an amount of training, at least 1 (`{"epochs": 20}`: a trial of fidelity 0.5 trains 10 epochs, and one that
            goes on from there the 10 that are missing). A float is scaled and given anew (`{"data_fraction": 1.0}`);
            a pair `(low, high)` is gone through from low to high, in whole numbers if both are
            (`{"resolution": (16, 32)}`).
        inherit: whether a child starts with what fits of its parent's weights, by name and shape; or
            `inherit(model, state)`, which puts the parent's state dict into the child, such as a morphism.
        checkpoints: a folder for the weights of trials, where another process finds them; None: memory. Kept are those
            that may be gone on from: of a fidelity below 1, and all where `inherit` is set.
        seed: with the trial's number the seed of building, training and scoring.

    Raises:
        EvaluationError: for wrong settings. While running, naming the trial: for a `fit` that changes the architecture,
            or leaves every weight as it was, and for a `score` that is no number. A score that is not finite is
            `mn.Failed`.

    Example:
        >>> x, y = torch.randn(32, 4), torch.randint(2, (32,))
        >>> def fit(model, epochs):
        ...     optimizer = torch.optim.SGD(model.parameters(), 0.1)
        ...     for _ in range(epochs):
        ...         optimizer.zero_grad()
        ...         nn.functional.cross_entropy(model(x), y).backward()
        ...         optimizer.step()
        ...         yield
        >>> def score(model):
        ...     return (model(x).argmax(1) == y).float().mean()
        >>> space = mn.SearchSpace({"width": mn.choice([4, 8])})
        >>> def build(point):
        ...     return nn.Sequential(nn.Linear(4, point["width"]), nn.ReLU(), nn.Linear(point["width"], 2))
        >>> study = mn.Study(space, "random", objectives={"accuracy": "max"})
        >>> study.optimize(mn.evaluate.Standalone(build, fit, score, fidelity={"epochs": 3}), trials=4, progress=False)
        >>> {trial.state for trial in study.trials}
        {'complete'}
    """

    def __init__(
        self,
        build: Source,
        fit: Callable[..., Any] | None,
        score: Callable[[nn.Module], Any],
        *,
        metric: str = "accuracy",
        fidelity: Mapping[str, _Amount] | None = None,
        inherit: bool | Callable[[nn.Module, _State], Any] = False,
        checkpoints: str | os.PathLike[str] | None = None,
        seed: int = 0,
    ) -> None:
        for name, function in (("fit", fit), ("score", score)):
            if not callable(function) and not (name == "fit" and function is None):
                raise EvaluationError(f"{name} is a {type(function).__name__}; expected a function {name}(model, ...)")
        self.build = network_of(build, "Standalone")
        self.fit = fit
        self.score = score
        self.metric = metric
        self.fidelity = {name: _checked(name, amount) for name, amount in (fidelity or {}).items()}
        self.inherit = inherit_matching if inherit is True else inherit or None
        self.folder = None if checkpoints is None else Path(checkpoints)
        self.seed = seed
        self._kept: dict[int, _State] = {}
        names = set(inspect.signature(fit).parameters) if fit is not None else set()
        self._extras = names & {"trial", "checkpoint"}

    def evaluate(self, trials: Any) -> list[Any]:
        """The metrics of each trial, in the same order."""
        return [self._evaluate(trial) for trial in trials]

    def _evaluate(self, trial: Any) -> Any:
        with isolated(self.seed * 1_000_003 + trial.number):
            net = self.build(trial.point)
            before, checkpoint = self._resume(net, trial)
            outcome = self._train(net, trial, before, checkpoint)
            if isinstance(outcome, (Failed, Pruned)):
                return outcome
            net = outcome
            values = values_of(self.score(net.eval()), trial, self.metric)
            if self.inherit is not None or trial.fidelity < 1:
                self._keep(net, trial, checkpoint)
            return values

    def _resume(self, net: nn.Module, trial: Any) -> tuple[float, _State]:
        """Puts a parent's weights into the network; the fidelity that it had reached, and its checkpoint."""
        state = None if trial.parent is None else self._load(trial.parent)
        if state is None:
            return 0.0, {}
        if state["point"] == trial.point.to_json():
            net.load_state_dict(state["weights"])
            return state["fidelity"], state["checkpoint"]
        if self.inherit is not None:
            self.inherit(net, state["weights"])
        return 0.0, {}

    def _train(self, net: nn.Module, trial: Any, before: float, checkpoint: _State) -> Any:
        """The trained network, or how the trial ended."""
        if self.fit is None:
            return net
        amounts = {name: _amount(amount, trial.fidelity, before) for name, amount in self.fidelity.items()}
        if 0 in amounts.values():
            return net  # it descends from one that trained as much
        extras = {"trial": trial, "checkpoint": checkpoint}
        shapes, weights = _shapes(net), [tensor.detach().clone() for tensor in net.state_dict().values()]
        result = self.fit(net.train(), **amounts, **{name: extras[name] for name in self._extras})
        if isinstance(result, Iterator):
            result = self._step_by_step(result, net, trial)
        if isinstance(result, (Failed, Pruned)):
            return result
        if isinstance(result, nn.Module):
            net = result
        if _shapes(net) != shapes:
            changed = sorted({*_shapes(net).items()} ^ {*shapes.items()})[0]
            raise EvaluationError(
                f"trial {trial.number}: fit changed the architecture ({changed[0]}: {shapes.get(changed[0])} became "
                f"{_shapes(net).get(changed[0])}); it must train the given model, or return one of the same shapes"
            )
        trained = zip(net.state_dict().values(), weights, strict=True)
        if weights and all(torch.equal(new.to(old.device), old) for new, old in trained):
            raise EvaluationError(
                f"trial {trial.number}: fit left every weight as it was; is its loader empty, or its optimizer of "
                "another model? For no training give fit=None"
            )
        return net

    def _step_by_step(self, steps: Iterator[Any], net: nn.Module, trial: Any) -> Any:
        """Runs a generator of epochs to its end, or until the trial should be pruned; what it returned."""
        should_prune = getattr(trial, "should_prune", None)
        step = 0
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            if should_prune is None:
                continue
            modes = [(module, module.training) for module in net.modules()]
            values = values_of(self.score(net.eval()), trial, self.metric)
            for module, training in modes:
                module.training = training
            if isinstance(values, (Failed, Pruned)):
                return values
            if self.metric not in values:
                raise EvaluationError(
                    f"trial {trial.number}: score gives {', '.join(values)} and not '{self.metric}', which is to be "
                    "reported; name one of them by metric="
                )
            trial.report(step, values[self.metric])
            if should_prune():
                return Pruned(values)
            step += 1

    def _keep(self, net: nn.Module, trial: Any, checkpoint: _State) -> None:
        state = {
            "point": trial.point.to_json(),
            "fidelity": trial.fidelity,
            "weights": {name: tensor.detach().cpu().clone() for name, tensor in net.state_dict().items()},
            "checkpoint": checkpoint,
        }
        if self.folder is None:
            self._kept[trial.number] = state
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"trial_{trial.number}.pt"
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)  # whole or not at all

    def _load(self, number: int) -> _State | None:
        if self.folder is None:
            return self._kept.get(number)
        path = self.folder / f"trial_{number}.pt"
        return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None


def inherit_matching(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Copies those of a parent's tensors into a model that have the same name and shape there; returns their names.

    Example:
        >>> parent, child = (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, n)) for n in (1, 4))
        >>> mn.evaluate.inherit_matching(child, parent.state_dict())
        ['0.weight', '0.bias']
    """
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in state.items() if name in own and own[name].shape == tensor.shape}
    model.load_state_dict(fitting, strict=False)
    return list(fitting)


def _shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def _checked(name: str, amount: Any) -> _Amount:
    ends = amount if isinstance(amount, tuple) else (amount,)
    numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) and end > 0 for end in ends)
    if not numbers or len(ends) not in (1, 2 if isinstance(amount, tuple) else 1):
        raise EvaluationError(f"fidelity of '{name}' is {amount!r}; expected a number above 0 or a pair (low, high)")
    return amount  # type: ignore[no-any-return]


def _amount(amount: _Amount, fidelity: float, before: float) -> float:
    """The argument of `fit` at a fidelity; of an amount of training only what is missing since `before`."""
    if isinstance(amount, tuple):
        value = amount[0] + (amount[1] - amount[0]) * fidelity
        return round(value) if all(isinstance(end, int) for end in amount) else value
    if isinstance(amount, int):
        total = max(1, math.ceil(amount * fidelity - 1e-9))
        done = max(1, math.ceil(amount * before - 1e-9)) if before else 0
        return max(total - done, 0)
    return amount * fidelity
