"""Zero-cost proxies as an evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from modularnas.errors import EvaluationError
from modularnas.evaluate.candidate import Source, network_of
from modularnas.evaluate.values import values_of
from modularnas.evaluate.zero_cost.proxy import Loss, find, measure

__all__ = ["ZeroCost"]


class ZeroCost:
    """Scores candidates by zero-cost proxies, each larger for better networks.

    Every proxy sees its own copy of the candidate with the same random numbers, so the supernet, its mode and the
    user's random numbers stay as they are, also after an exception.

    Args:
        source: a supernet, or a function from a point to a network.
        proxy: the name of a proxy (`mn.evaluate.zero_cost.names()`), or several.
        batch: `(x, y)`, or `x` alone for proxies without targets; the same for all candidates.
        loss: `loss(output, target)`.
        fresh: whether candidates draw initial weights instead of inheriting trained ones. The proxies are made for
            networks at initialisation.
        seed: the seed of all random numbers, the same for every candidate.

    Raises:
        EvaluationError: for an unknown proxy, with near matches, or a wrong source.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> x, y = torch.randn(4, 3, 8, 8), torch.randint(8, (4,))
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=x)
        >>> evaluator = mn.evaluate.ZeroCost(supernet, ["synflow", "snip"], batch=(x, y))
        >>> study = mn.Study(supernet.space, "random", objectives={"synflow": "max"})
        >>> study.optimize(evaluator, trials=2, progress=False)
        >>> sorted(study.best_trial.values)
        ['snip', 'synflow']
    """

    def __init__(
        self,
        source: Source,
        proxy: str | Sequence[str],
        batch: Any,
        *,
        loss: Loss = nn.functional.cross_entropy,
        fresh: bool = True,
        seed: int = 0,
    ) -> None:
        self.proxies = [proxy] if isinstance(proxy, str) else list(proxy)
        if not self.proxies:
            raise EvaluationError("ZeroCost is given no proxy; expected a name or several")
        for name in self.proxies:
            find(name)
        self.build = network_of(source, "ZeroCost")
        self.batch = batch
        self.settings: dict[str, Any] = {"loss": loss, "fresh": fresh, "seed": seed}

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The proxies of each trial's candidate; `Failed` where one is not finite."""
        outcomes = []
        for trial in trials:
            net = self.build(trial.point)
            found = {name: measure(net, name, self.batch, **self.settings) for name in self.proxies}
            outcomes.append(values_of(found, trial, "score", "the proxy"))
        return outcomes
