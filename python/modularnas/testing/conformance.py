"""The laws of algorithms, evaluators, candidate ops and supernets."""

from __future__ import annotations

import copy
import io
import math
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import modularnas as mn

__all__ = ["check_algorithm", "check_evaluator", "check_op", "check_supernet"]

Example = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]


def check_algorithm(
    make: Callable[[], Any],
    *,
    space: mn.SearchSpace | None = None,
    objectives: dict[str, str] | None = None,
    trials: int = 40,
    seed: int = 0,
) -> None:
    """Checks the laws of search algorithms.

    Every proposal is a point of the space; the same seed gives the same run; a run that is cut and resumed from its
    file equals the whole one; telling trials one by one equals telling them together; failed, pruned and pending
    trials are taken; a batch is answered; a space of one point neither hangs nor fails.

    Args:
        make: gives a new algorithm at each call: a class, or a function without arguments.
        space: where to search; None: a small one with every kind of decision and a condition.
        objectives: what to search for; None: one loss.
        trials: the length of a run. Take more than the algorithm needs to leave its warm-up.
        seed: the seed of the runs.

    Raises:
        AssertionError: naming the broken law.

    Example:
        >>> from modularnas.testing import check_algorithm
        >>> check_algorithm(lambda: mn.search.RegularizedEvolution(population=8, sample=3), trials=20)
    """
    space = space if space is not None else mixed_space()
    law = _AlgorithmLaws(make, space, objectives or {"loss": "min"}, seed)
    whole = law.run(trials)
    law.check_points(whole)
    _equal(_story(law.run(trials)), _story(whole), "the same seed gives another run")
    law.check_order(trials)
    law.check_cuts(whole)
    law.check_batches(trials)
    law.check_bad_trials(trials)
    law.check_one_point()


def mixed_space() -> mn.SearchSpace:
    """A small space with a decision of every kind, and conditions."""
    return mn.SearchSpace(
        {
            "op": mn.choice(["conv", "pool", "skip"]),
            "kernel": mn.choice([3, 5, 7], active_if=("op", ["conv"])),
            "depth": mn.integer(1, 4),
            "inputs": mn.subset(["a", "b", "c", "d"], take=2, active_if=("op", ["conv", "pool"])),
            "rate": mn.real(1e-4, 1e-1, log=True),
        }
    )


class _AlgorithmLaws:
    def __init__(self, make: Callable[[], Any], space: mn.SearchSpace, objectives: dict[str, str], seed: int) -> None:
        self.make = make
        self.space = space
        self.objectives = objectives
        self.seed = seed

    def study(self, space: mn.SearchSpace | None = None, storage: pathlib.Path | None = None) -> mn.Study:
        space = space if space is not None else self.space
        return mn.Study(space, self.make(), objectives=self.objectives, storage=storage, seed=self.seed)

    def measure(self, trial: mn.Trial) -> Any:
        """Metrics that depend on the trial alone; about one trial in seven fails."""
        if trial.number % 7 == 3:
            return mn.Failed("as planned")
        row = trial.point.space.encode([trial.point])[0]
        return {name: float(row @ _weights(len(row), i)) for i, name in enumerate(self.objectives)}

    def run(self, trials: int, study: mn.Study | None = None) -> list[mn.Trial]:
        study = study if study is not None else self.study()
        while len(study.trials) < trials:
            asked = study.ask()
            if not asked:
                break
            for trial in asked:
                study.tell(trial, self.measure(trial))
        return study.trials

    def check_points(self, whole: Sequence[mn.Trial]) -> None:
        assert whole, "nothing was proposed, not even at the start"
        for trial in whole:
            self.space.check(trial.point)
            assert 0 < trial.fidelity <= 1, f"trial {trial.number} has fidelity {trial.fidelity}, not in (0, 1]"
            parent = trial.parent
            assert parent is None or parent < trial.number, (
                f"trial {trial.number} has the later trial {parent} as parent"
            )
        numbers = [trial.number for trial in whole]
        _equal(numbers, list(range(len(whole))), "trials are not numbered from 0 on")

    def check_cuts(self, whole: Sequence[mn.Trial]) -> None:
        """A run that is cut after every trial, and one that is cut once, go on as if they were not."""
        with tempfile.TemporaryDirectory() as folder:
            for name, cuts in (("often", range(1, len(whole))), ("once", [len(whole) // 2])):
                file = pathlib.Path(folder) / f"{name}.db"
                for cut in (*cuts, len(whole)):
                    resumed = self.run(cut, self.study(storage=file))
                _equal(
                    _story(resumed), _story(whole), f"cut {name} and resumed from its file, the run goes on otherwise"
                )

    def check_order(self, trials: int) -> None:
        """Trials told one by one and together give the same next proposals."""
        answers = []
        for together in (False, True):
            study = self.study()
            for _ in range(max(trials // 4, 1)):
                outcomes = [(trial, self.measure(trial)) for trial in study.ask(4)]
                if together:
                    study.tell_and_ask(outcomes, 0)
                else:
                    for trial, outcome in outcomes:
                        study.tell(trial, outcome)
            study.ask(3)
            answers.append(_story(study.trials))
        _equal(
            answers[0], answers[1], "trials told together teach it something else than the same ones told one by one"
        )

    def check_batches(self, trials: int) -> None:
        """Pending trials and batches: whatever is running, the answer holds as many points as fit."""
        study = self.study()
        pending: list[mn.Trial] = []
        while len(study.trials) < trials:
            asked = study.ask(5)
            assert len(asked) <= 5, f"asked for 5 points, it proposed {len(asked)}"
            pending += asked
            if not pending:
                break
            study.tell(pending[0], self.measure(pending[0]))
            pending = pending[1:] if len(pending) < 12 else self._tell_all(study, pending[1:])
        for trial in study.trials:
            self.space.check(trial.point)

    def _tell_all(self, study: mn.Study, pending: list[mn.Trial]) -> list[mn.Trial]:
        for trial in reversed(pending):  # not in the order in which they were asked
            study.tell(trial, self.measure(trial))
        return []

    def check_bad_trials(self, trials: int) -> None:
        """An algorithm goes on when every trial fails or is pruned with nothing measured."""
        for outcome in (mn.Failed("as planned"), mn.Pruned()):
            study = self.study()
            for _ in range(trials):
                for trial in study.ask():
                    study.tell(trial, outcome)
            assert study.trials, f"nothing is proposed where every trial is told {outcome}"

    def check_one_point(self) -> None:
        numeric = all(decision.kind in ("integer", "real") for decision in self.space.decisions)
        other = mn.integer(1, 1) if numeric else mn.choice([1])
        space = mn.SearchSpace({"a": other, "b": mn.integer(2, 2)})
        study = self.study(space)
        for _ in range(5):
            for trial in study.ask(2):
                study.tell(trial, self.measure(trial))
        assert study.trials, "nothing is proposed in a space of one point"
        assert {trial.point for trial in study.trials} == {space.unrank(0)}


def _weights(n: int, objective: int) -> Any:
    return torch.linspace(1, -1 if objective % 2 else 2, n, dtype=torch.float64).numpy()


def _story(trials: Iterable[mn.Trial]) -> list[tuple[Any, ...]]:
    return [(t.number, dict(t.point), t.fidelity, t.parent, t.state, t.values, t.error) for t in trials]


def _equal(found: Any, expected: Any, law: str) -> None:
    if found == expected:
        return
    if isinstance(found, list) and isinstance(expected, list):
        for i, (a, b) in enumerate(zip(found, expected, strict=False)):
            assert a == b, f"{law}: at {i} it is {a}, expected {b}"
        raise AssertionError(f"{law}: {len(found)} entries, expected {len(expected)}")
    raise AssertionError(f"{law}: it is {found}, expected {expected}")


def check_evaluator(evaluator: Any, space: mn.SearchSpace, *, trials: int = 4, seed: int = 0) -> None:
    """Checks the laws of evaluators: one outcome a trial, in order, finite, and the same the next time.

    An evaluator that trains with fresh random numbers breaks the last law; seed it by `trial.number`.

    Args:
        evaluator: an object with `evaluate(trials)`.
        space: where its trials lie.
        trials: how many random points to evaluate.
        seed: which ones.

    Raises:
        AssertionError: naming the broken law.

    Example:
        >>> from modularnas.testing import check_evaluator
        >>> check_evaluator(mn.evaluate.Function(lambda point: point["n"]), mn.SearchSpace({"n": mn.integer(1, 9)}))
    """
    study = mn.Study(space, mn.search.Random(), objectives={"any": "max"}, seed=seed)
    asked = study.ask(trials)
    together = [_metrics(outcome) for outcome in evaluator.evaluate(asked)]
    assert len(together) == len(asked), f"{len(together)} outcomes for {len(asked)} trials; expected one a trial"
    for trial, values in zip(asked, together, strict=True):
        for name, value in values.items():
            assert math.isfinite(value), f"trial {trial.number}: '{name}' is {value}, not finite"
    alone = [_metrics(outcome) for trial in reversed(asked) for outcome in evaluator.evaluate([trial])]
    _equal(alone[::-1], together, "trials evaluated one by one, in another order, give other outcomes")
    _equal(list(evaluator.evaluate([])), [], "no trials should give no outcomes")


def _metrics(outcome: Any) -> dict[str, float]:
    if isinstance(outcome, mn.Failed):
        raise AssertionError(f"a trial failed: {outcome.reason}")
    if isinstance(outcome, mn.Pruned):
        outcome = outcome.values or {}
    if hasattr(outcome, "items"):
        return {name: float(value) for name, value in outcome.items()}
    return {"": float(outcome)}


def check_supernet(
    supernet: mn.Supernet,
    x: Example,
    points: Iterable[Any] | int = 4,
    *,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Checks the law of weight sharing, and what else every supernet promises.

    In eval mode, for each point: the supernet with the point active and the derived network give the same outputs; the
    derived network holds no module of this library; its parameters and multiply-accumulates, counted by torch, are
    those of `supernet.cost`. A deep copy, and a copy that loads the `state_dict` from bytes, give the same outputs.
    The active point, training modes and weights are as before afterwards.

    Args:
        supernet: from `mn.rewrite`.
        x: an input: a tensor, a tuple of arguments or a dict of keywords. Costs are compared if its shape is that of
            the example which the supernet was made with.
        points: which points, or how many random ones.
        seed: of the random points.
        rtol: relative tolerance, as in `torch.testing.assert_close`.
        atol: absolute tolerance.

    Raises:
        AssertionError: naming the broken law and the point.

    Example:
        >>> from modularnas.testing import check_supernet
        >>> x = torch.randn(2, 3, 8, 8)
        >>> check_supernet(mn.rewrite(nn.Conv2d(3, 4, 3, padding=1), [mn.rules.kernel_size(3, 5)], example=x), x)
    """
    chosen = supernet.space.samples(points, seed=seed) if isinstance(points, int) else [*points]
    before = supernet.active_point
    modes = {module: module.training for module in supernet.modules()}
    weights = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    tolerance: dict[str, Any] = {"rtol": rtol, "atol": atol}
    supernet.eval()
    try:
        for point in chosen:
            _check_point(supernet, supernet.space.point(point), x, tolerance)
        if chosen:
            _check_copies(supernet, x, tolerance)
    finally:
        supernet.activate(before)
        for module, training in modes.items():
            module.training = training
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, weights[name]), f"deriving or activating changed '{name}' of the supernet"


def _check_point(supernet: mn.Supernet, point: mn.Point, x: Example, tolerance: dict[str, Any]) -> None:
    supernet.activate(point)
    assert supernet.active_point == point, f"{point} was activated, but {supernet.active_point} is active"
    expected = _call(supernet, x)
    net = mn.derive(supernet, point).eval()
    _close(_call(net, x), expected, f"{point}: the derived network differs from the activated supernet", tolerance)
    ours = sorted({type(m).__name__ for m in net.modules() if type(m).__module__.partition(".")[0] == "modularnas"})
    assert not ours, f"{point}: the derived network still holds modules of this library: {', '.join(ours)}"
    cost = supernet.cost(point)
    params = sum(parameter.numel() for parameter in net.parameters())
    assert cost["params"] == params, f"{point}: cost says {cost['params']} params, the derived network has {params}"
    with FlopCounterMode(display=False) as counter:
        _call(net, x)
    macs = counter.get_total_flops() // 2
    assert cost["macs"] == macs, f"{point}: cost says {cost['macs']} macs, torch counts {macs} for this input"


def _check_copies(supernet: mn.Supernet, x: Example, tolerance: dict[str, Any]) -> None:
    expected = _call(supernet, x)
    clone = copy.deepcopy(supernet)
    _close(_call(clone, x), expected, "a deep copy of the supernet gives other outputs", tolerance)
    with torch.no_grad():
        for parameter in clone.parameters():
            parameter.fill_(0.5)
    _close(_call(supernet, x), expected, "a deep copy of the supernet shares its weights", tolerance)
    file = io.BytesIO()
    torch.save(supernet.state_dict(), file)
    file.seek(0)
    clone.load_state_dict(torch.load(file, weights_only=True))
    _close(_call(clone, x), expected, "a copy that loaded the state_dict gives other outputs", tolerance)


def _call(net: nn.Module, x: Example) -> Any:
    with torch.no_grad():
        if isinstance(x, dict):
            return net(**x)
        return net(*x) if isinstance(x, (tuple, list)) else net(x)


def _close(found: Any, expected: Any, law: str, tolerance: dict[str, Any]) -> None:
    torch.testing.assert_close(found, expected, **tolerance, msg=lambda text: f"{law}\n{text}")


def check_op(name: str, *, channels: Sequence[tuple[int, int]] = ((8, 8), (8, 12)), size: int = 8) -> None:
    """Checks the laws of candidate ops, in slots that keep and that change channels and size.

    In each slot the op gives the slot's output shape, keeps the law of weight sharing (see `check_supernet`) also after
    training steps, and passes gradients on to every parameter that it has. An op for pictures is checked on them (else
    on the other numbers of dimensions), an op for features, sequences or fields on those too.

    Args:
        name: a registered op.
        channels: (in, out) of the slots; give those that the op is meant for.
        size: height and width of the input, length of a sequence, dimension of a field.

    Raises:
        AssertionError: naming the broken law.
        RuleError: if the op cannot be built for a slot, or gives another shape than the slot's.

    Example:
        >>> from modularnas.testing import check_op
        >>> check_op("conv_3x3")
    """
    inputs = mn.ops.describe(name).inputs
    spatial = [kind for kind in ("2d", "1d", "3d") if kind in inputs][:1]
    for kind in (*spatial, *(kind for kind in inputs if kind in ("features", "sequence", "fields"))):
        for inside, outside in channels:
            for stride in (1, 2) if kind in spatial else (1,):
                _check_in_slot(name, kind, inside, outside, stride, size)


def _check_in_slot(name: str, kind: str, inside: int, outside: int, stride: int, size: int) -> None:
    given: tuple[int, ...]
    expected: tuple[int, ...]
    if kind in ("1d", "2d", "3d"):
        n = int(kind[0])
        slot = mn.Slot(inside, outside, stride=stride)
        given, expected = (2, inside, *(size,) * n), (2, outside, *(-(-size // stride),) * n)
    elif kind == "fields":
        slot = mn.Slot(inside, outside, layout="fields")
        given, expected = (2, inside, size), (2, outside)
    else:
        slot = mn.Slot(inside, outside, layout="features")
        middle = (size,) if kind == "sequence" else ()
        given, expected = (2, *middle, inside), (2, *middle, outside)
    x = torch.randn(given)
    supernet = mn.rewrite(nn.Sequential(slot), [mn.rules.slots([name])], example=x)
    where = f"op '{name}' on {kind} from {inside} to {outside} channels with stride {stride}"
    for _ in range(2):
        y = supernet.train()(x.requires_grad_())
        assert tuple(y.shape) == expected, f"{where} gives shape {tuple(y.shape)}, expected {expected}"
        assert torch.isfinite(y).all(), f"{where} gives values that are not finite"
        y.square().sum().backward()
        for parameter, tensor in supernet.named_parameters():
            assert tensor.grad is not None, f"{where} gives '{parameter}' no gradient"
    check_supernet(supernet, x.detach(), points=1)
