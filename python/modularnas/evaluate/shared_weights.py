"""Evaluation with shared weights: a candidate is scored with the weights that it inherits from the supernet.

The one-shot method (Bender et al. 2018; Guo et al. 2019, SPOS, arXiv 1904.00420): no candidate is trained. Each one
is derived with views of the supernet's weights, so the score sees a plain module and nothing of the supernet is
touched. Scores are remembered by architecture: weights that do not change cannot score differently. `forget()` after
more training. What candidates have in common at their front can be computed once (`prefix_bytes`; `prefixes.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

from torch import nn

from modularnas.errors import EvaluationError
from modularnas.evaluate.batch_norm import POLICIES, recalibrate, use_batch_statistics
from modularnas.evaluate.prefixes import Prefixes
from modularnas.evaluate.randomness import isolated
from modularnas.evaluate.values import values_of

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
        score: `score(net) -> float | dict`: the metrics of a plain network in eval mode, such as validation accuracy;
            several at once as a dict.
        metric: the name of the metric where `score` returns a number.
        batch_norm: `"recalibrate"`: running statistics are measured anew on `calibration` for each candidate;
            `"batch"`: those of the batch at hand; `"private"`: those that training kept apart for each choice, after
            `supernet.private_batch_norm()`; `"none"`: the supernet's own, which mix all paths.
        calibration: the batches for `"recalibrate"`: a data loader or a list of batches, of inputs or
            (input, target) pairs; the same ones for every candidate.
        n_calibration: how many of them to use; None: all.
        n_together: how many candidates are recalibrated in one pass over the calibration, of those that a study hands
            over at once (`study.optimize(..., batch=8)`).
        prefix_bytes: memory for the outputs of layers that candidates evaluated at once have in common at their front,
            such as `2**30`: these layers are computed once, and the metrics are the same. It serves scores that only
            look at outputs, under `torch.no_grad()`: what a `score` measures besides, like time, is not that of the
            candidate alone. 0: every candidate is computed whole.
        costs: whether to add the exact `params`, `macs` and `activation_bytes` to the metrics.
        canonical: `canonical(point)`: what points of the same architecture have in common, where a space has several
            for one (isomorphic cells); only the first of them is scored. None: the point itself.

    Raises:
        EvaluationError: for an unknown policy or missing calibration. While running, naming the trial: for a
            calibration without a batch, and a score that is no number. A score that is not finite is `mn.Failed`.

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
        prefix_bytes: int = 0,
        costs: bool = True,
        canonical: Callable[[Any], Hashable] | None = None,
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
        if n_together < 1 or prefix_bytes < 0:
            raise EvaluationError(
                f"n_together is {n_together} and prefix_bytes {prefix_bytes}; expected 1 or more, and 0 or more"
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
        self.prefix_bytes = prefix_bytes
        self.costs = costs
        self.canonical = canonical or (lambda point: point)
        self._known: dict[Hashable, Any] = {}

    def forget(self) -> None:
        """Forgets all scores; call it after the supernet was trained further."""
        self._known.clear()

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The metrics of each trial's candidate, in the same order."""
        architectures = [self.canonical(trial.point) for trial in trials]
        new: dict[Hashable, Any] = {}
        for architecture, trial in zip(architectures, trials, strict=True):
            if architecture not in self._known:
                new.setdefault(architecture, trial)
        waiting = list(new.items())
        if self.prefix_bytes and waiting:  # in the order of a prefix tree
            codes = self.supernet.space.indices([trial.point for _, trial in waiting]).tolist()
            waiting = [one for _, one in sorted(zip(codes, waiting, strict=True), key=lambda pair: pair[0])]
        prefixes = Prefixes(self.prefix_bytes)
        for start in range(0, len(waiting), self.n_together):
            self._measure(waiting[start : start + self.n_together], prefixes)
        found = (self._known[architecture] for architecture in architectures)
        return [dict(known) if isinstance(known, dict) else known for known in found]

    def _measure(self, waiting: Sequence[tuple[Hashable, Any]], prefixes: Prefixes) -> None:
        nets = [self.supernet.derive(trial.point, share=True) for _, trial in waiting]
        with isolated(0):  # the same random numbers for every candidate (augmentation, shuffling)
            if self.batch_norm == "recalibrate":
                try:
                    batches = self.calibration or ()
                    recalibrate(nets, batches, self.n_calibration, prefix_bytes=self.prefix_bytes)
                except EvaluationError as error:
                    raise EvaluationError(f"trial {waiting[0][1].number}: {error}") from error
        for (architecture, trial), net in zip(waiting, nets, strict=True):
            if self.batch_norm == "batch":
                use_batch_statistics(net)
            with isolated(0), prefixes.of(net) if self.prefix_bytes else nullcontext():
                values = values_of(self.score(net.eval()), trial, self.metric)
            if self.costs and isinstance(values, dict):
                values = {**self.supernet.cost(trial.point), **values}
            self._known[architecture] = values
