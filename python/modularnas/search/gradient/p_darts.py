"""P-DARTS: progressively fewer candidates, in progressively deeper networks.

Chen, Xie, Wu and Tian 2019, "Progressive Differentiable Architecture Search: Bridging the Depth Gap between Search and
Evaluation", arXiv 1904.12760: in stages, each place keeps its strongest candidates (8, 5, 3; section 3.2) while the
network grows (5, 11, 17 cells); behind skip connections there is drop-path whose rate decays in each stage and starts
higher in later ones (section 3.3; 0, 0.4, 0.7), and in the end at most two skip connections stay. First order, alpha
starts anew in each stage (their code).

Deviations: drop-path instead of element-wise dropout behind skip connections, so that what is left out is a path. The
rate is `skip_drop * exp(-decay * step)`; theirs decays by the epoch.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from typing import Any

import torch

from modularnas.errors import SearchError
from modularnas.nn.relax import strongest
from modularnas.search.gradient.algorithm import GradientAlgorithm

__all__ = ["PDARTS"]


class PDARTS(GradientAlgorithm):
    """DARTS of first order in stages; `advance()` goes from one to the next.

    Args:
        supernet: as in `GradientAlgorithm`; that of the first stage.
        keep: how many candidates each place keeps after each stage but the last.
        skip_drop: the rate of drop-path behind skip connections at the start of each stage.
        decay: of that rate, a step.
        max_skips: how many skip connections stay in `point()`; None: any number.
        skips: the names of skip connections.
        where: a glob over decisions: among which skip connections are counted (such as those of normal cells).
        settings: as in `GradientAlgorithm`.

    Example:
        >>> net = nn.Sequential(mn.Slot(3, 8), nn.Flatten(), nn.Linear(8 * 64, 2))
        >>> rules = [mn.rules.slots(["conv_1x1", "conv_3x3", "max_pool_3x3"])]
        >>> supernet = mn.rewrite(net, rules, example=torch.randn(2, 3, 8, 8))
        >>> search = mn.search.PDARTS(supernet, keep=(2,))
        >>> search.advance()                   # after the epochs of the first stage
        >>> len(supernet.relaxed.candidates["0.op"])
        2
    """

    adam = {"lr": 6e-4, "betas": (0.5, 0.999), "weight_decay": 1e-3}  # noqa: RUF012 - a constant

    def __init__(
        self,
        supernet: Any,
        *,
        keep: Sequence[int] = (5, 3),
        skip_drop: Sequence[float] = (0.0, 0.4, 0.7),
        decay: float = 1e-3,
        max_skips: int | None = 2,
        skips: Sequence[str] = ("identity", "skip_connect"),
        where: str = "*",
        **settings: Any,
    ) -> None:
        if any(count < 1 for count in keep):
            raise SearchError(f"keep is {tuple(keep)}; expected 1 or more candidates after each stage")
        self.keep = tuple(keep)
        self.skip_drop = tuple(skip_drop) or (0.0,)
        self.decay = decay
        self.max_skips = max_skips
        self.skips = tuple(skips)
        self.where = where
        self.stage = 0
        self._first_step = 0
        super().__init__(supernet, **settings)

    def _heat(self) -> None:
        super()._heat()
        start = self.skip_drop[min(self.stage, len(self.skip_drop) - 1)]
        rate = start * math.exp(-self.decay * (self.n_steps - self._first_step))
        self._relaxed.drop.update(dict.fromkeys(self.skips, rate))

    def advance(self, supernet: Any = None) -> None:
        """Ends a stage: every place keeps its strongest candidates, and alpha starts anew.

        Args:
            supernet: the network of the next stage, perhaps deeper, with decisions of the same names; None: the same
                one. Its weights are to be trained by a new optimizer.

        Raises:
            SearchError: after the last stage, or if the next supernet lacks a decision.
        """
        if self.stage >= len(self.keep):
            raise SearchError(f"the search has {len(self.keep) + 1} stages and is in the last")
        count = self.keep[self.stage]
        kept = {name: strongest(weights, count) for name, weights in self._relaxed.labelled().items()}
        self.stage += 1
        self._first_step = self.n_steps
        if supernet is not None:
            missing = [name for name in kept if name not in {d.name for d in supernet.space.decisions}]
            if missing:
                raise SearchError(f"the next supernet has no decision {missing[0]!r} to go on with")
            self.supernet = supernet
        self.supernet.alpha.clear()
        self.supernet.edge_alpha.clear()
        self._relax(candidates=kept)
        self.optimizer = type(self.optimizer)(self.alphas, **self.optimizer.defaults)

    @torch.no_grad()
    def point(self) -> Any:
        """The strongest choices with at most `max_skips` skip connections, the strongest of them."""
        if self.max_skips is None:
            return self._relaxed.point()
        kept = dict(self._relaxed.candidates)
        try:
            while True:
                point = self._relaxed.point()
                weights = self._relaxed.labelled()
                found = [
                    (weights[name][choice], name)
                    for name, choice in point.items()
                    if choice in self.skips and name in weights and fnmatch.fnmatchcase(name, self.where)
                ]
                weak = [name for _, name in sorted(found, reverse=True)[self.max_skips :] if len(weights[name]) > 1]
                if not weak:
                    return point
                name = weak[-1]
                self._relaxed.narrow(name, [label for label in weights[name] if label not in self.skips])
        finally:
            self._relaxed.candidates.update(kept)

    def state_dict(self) -> dict[str, Any]:
        """As in `GradientAlgorithm`."""
        return {**super().state_dict(), "stage": self.stage, "first_step": self._first_step}

    def load_state_dict(self, state: Any) -> None:
        """As in `GradientAlgorithm`."""
        self.stage, self._first_step = state["stage"], state["first_step"]
        super().load_state_dict(state)
