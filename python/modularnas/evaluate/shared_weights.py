"""Evaluation with shared weights: a candidate is scored with the weights that it inherits from the supernet.

The one-shot method (Bender et al. 2018; Guo et al. 2019, SPOS, arXiv 1904.00420): no candidate is trained. Each one is
derived with views of the supernet's weights, so the score sees a plain module and nothing of the supernet is touched.
Scores are remembered by point: weights that do not change cannot score differently. `forget()` after more training.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from modularnas.errors import EvaluationError
from modularnas.evaluate.batch_norm import POLICIES, recalibrate, use_batch_statistics

__all__ = ["SharedWeights"]


class _Supernet(Protocol):
    """What is needed of a supernet; any object with these will do."""

    @property
    def space(self) -> Any: ...
    def derive(self, point: Any, *, share: bool = False) -> nn.Module: ...
    def cost(self, points: Any) -> dict[str, Any]: ...


class SharedWeights:
    """Scores candidates with the supernet's weights.

    Args:
        supernet: a trained supernet.
        score: `score(net) -> float | dict`: the metrics of a plain network in eval mode, such as validation accuracy.
        metric: the name of the metric where `score` returns a number.
        batch_norm: `"recalibrate"`: running statistics are measured anew on `calibration` for each candidate;
            `"batch"`: those of the batch at hand; `"private"`: those that training kept apart for each choice, after
            `supernet.private_batch_norm()`; `"none"`: the supernet's own, which mix all paths.
        calibration: the batches for `"recalibrate"`: a data loader or a list of batches, of inputs or
            (input, target) pairs; the same ones for every candidate.
        n_calibration: how many of them to use; None: all.
        n_together: how many candidates are recalibrated in one pass over the calibration, of those that a study hands
            over at once (`study.optimize(..., batch=8)`).
        costs: whether to add the exact `params`, `macs` and `activation_bytes` to the metrics.

    Raises:
        EvaluationError: for an unknown policy or missing calibration.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        >>> x = torch.randn(4, 3, 8, 8)
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=x)
        >>> evaluator = mn.evaluate.SharedWeights(supernet, lambda net: net(x).std().item(), calibration=[x])
        >>> study = mn.Study(supernet.space, mn.search.Random(), objectives={"accuracy": "max", "macs": "min"})
        >>> study.optimize(evaluator, trials=4, progress=False)
        >>> sorted(study.pareto_front[0].values)
        ['accuracy', 'activation_bytes', 'macs', 'params']
    """

    def __init__(
        self,
        supernet: _Supernet,
        score: Callable[[nn.Module], Any],
        *,
        metric: str = "accuracy",
        batch_norm: str = "recalibrate",
        calibration: Iterable[Any] | None = None,
        n_calibration: int | None = None,
        n_together: int = 8,
        costs: bool = True,
    ) -> None:
        if not (hasattr(supernet, "derive") and hasattr(supernet, "space")):
            raise EvaluationError(
                f"SharedWeights is given a {type(supernet).__name__}; expected a supernet from mn.rewrite"
            )
        if not callable(score):
            raise EvaluationError(f"score is a {type(score).__name__}; expected a function score(net) -> float or dict")
        if batch_norm not in POLICIES:
            raise EvaluationError(f"batch_norm is {batch_norm!r}; expected one of {', '.join(map(repr, POLICIES))}")
        if batch_norm == "recalibrate" and calibration is None:
            raise EvaluationError(
                'batch_norm="recalibrate" needs calibration=, a loader of some training batches; '
                'or choose batch_norm="batch" or "none"'
            )
        self.supernet = supernet
        self.score = score
        self.metric = metric
        self.batch_norm = batch_norm
        # A generator would be empty for the second candidate.
        once = calibration is not None and iter(calibration) is calibration
        self.calibration = list(calibration or ()) if once else calibration
        self.n_calibration = n_calibration
        self.n_together = n_together
        self.costs = costs
        self._known: dict[Any, dict[str, float]] = {}

    def forget(self) -> None:
        """Forgets all scores; call it after the supernet was trained further."""
        self._known.clear()

    def evaluate(self, trials: Sequence[Any]) -> list[dict[str, float]]:
        """The metrics of each trial's candidate, in the same order."""
        new = list({trial.point: trial for trial in trials if trial.point not in self._known}.values())
        for start in range(0, len(new), self.n_together):
            self._measure(new[start : start + self.n_together])
        return [dict(self._known[trial.point]) for trial in trials]

    def _measure(self, trials: Sequence[Any]) -> None:
        nets = [self.supernet.derive(trial.point, share=True) for trial in trials]
        with _same_random_numbers():
            if self.batch_norm == "recalibrate":
                recalibrate(nets, self.calibration or (), self.n_calibration)
        for trial, net in zip(trials, nets, strict=True):
            if self.batch_norm == "batch":
                use_batch_statistics(net)
            with _same_random_numbers():
                values = self._as_values(self.score(net.eval()), trial)
            self._known[trial.point] = {**self.supernet.cost(trial.point), **values} if self.costs else values

    def _as_values(self, score: Any, trial: Any) -> dict[str, float]:
        values = {}
        for name, value in (score if isinstance(score, dict) else {self.metric: score}).items():
            if isinstance(value, Tensor) and value.numel() == 1:
                value = value.item()
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise EvaluationError(
                    f"trial {trial.number}: score returned {value!r} for '{name}'; "
                    "expected a number or a dict of numbers"
                )
            values[name] = float(value)
        return values


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """The same ones for every candidate (augmentation, shuffling), and none taken from the user's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
