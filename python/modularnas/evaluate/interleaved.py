"""Evaluation and training in turns: a supernet trains on what a search asks for, and is scored on it.

CARS (Yang et al. 2019, "CARS: Continuous Evolution for Efficient Neural Architecture Search", arXiv 1909.04977,
algorithm 1) and ModularNAS' `UnifiedEstim`: instead of training a supernet once and searching afterwards, each
generation first trains the shared weights on its own architectures and then scores them. Any algorithm may search; with
`mn.search.Nsga2` the parents that survive are ranked by several objectives as in CARS. Scores of earlier trials are of
earlier weights, as in both: an algorithm that lets individuals age (`mn.search.RegularizedEvolution`) suits that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from modularnas.errors import EvaluationError

__all__ = ["Interleaved"]


class Interleaved:
    """Trains on the candidates of a batch of trials, then scores them with another evaluator.

    Args:
        train: `train(points)` trains the shared weights for a while on these points, a list without repetitions.
        evaluator: scores candidates with the shared weights, such as `mn.evaluate.SharedWeights`; what it remembers of
            older weights is forgotten.

    Raises:
        EvaluationError: if these are not what they should be.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> x = torch.randn(4, 3, 8, 8)
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7)], example=x)
        >>> optimizer = torch.optim.SGD(supernet.parameters(), 0.01)
        >>> def train(points):
        ...     supernet.train().sampling(mn.train.Population(points))
        ...     for _ in range(4):                       # an epoch
        ...         optimizer.zero_grad()
        ...         supernet(x).square().mean().backward()
        ...         optimizer.step()
        ...     supernet.sampling(None)
        >>> score = mn.evaluate.SharedWeights(supernet, lambda net: -net(x).mean().item(), batch_norm="none")
        >>> search = mn.search.RegularizedEvolution(population=4, sample=2)
        >>> study = mn.Study(supernet.space, search, objectives={"accuracy": "max"})
        >>> study.optimize(mn.evaluate.Interleaved(train, score), trials=6, progress=False)
        >>> len(study.trials)
        6
    """

    def __init__(self, train: Callable[[list[Any]], Any], evaluator: Any) -> None:
        if not callable(train):
            raise EvaluationError(f"train is a {type(train).__name__}; expected a function train(points)")
        if not hasattr(evaluator, "evaluate"):
            raise EvaluationError(
                f"Interleaved is given a {type(evaluator).__name__} to score with; expected an evaluator"
            )
        self.train = train
        self.evaluator = evaluator

    def evaluate(self, trials: Sequence[Any]) -> Sequence[Any]:
        """The outcomes of the trials' candidates, after training on these."""
        self.train(list(dict.fromkeys(trial.point for trial in trials)))
        if hasattr(self.evaluator, "forget"):
            self.evaluator.forget()
        return self.evaluator.evaluate(trials)  # type: ignore[no-any-return]
