"""StacNAS: similar candidates are compared among themselves, after their groups.

Li et al. 2019, "StacNAS: Towards Stable and Consistent Differentiable Neural Architecture Search", arXiv 1909.11926:
correlated candidates (3x3 and 5x5 of one kind, the two pools) share what they earn in a common softmax, so first one of
each group stands for it, and then the members of each place's winning group compete (section 3.2). One level: alpha and
weights descend the training loss (section 3.3), Adam as in DARTS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modularnas.errors import SearchError
from modularnas.nn.relax import strongest
from modularnas.search.gradient.direct import DirectGradient

__all__ = ["StacNAS"]

#: The groups of the DARTS space (the paper's table 1), with and without norms behind pools.
GROUPS = (
    ("none",),
    ("identity",),
    ("max_pool_3x3", "avg_pool_3x3"),
    ("max_pool_3x3_bn", "avg_pool_3x3_bn"),
    ("sep_conv_3x3", "sep_conv_5x5"),
    ("dil_conv_3x3", "dil_conv_5x5"),
)


class StacNAS(DirectGradient):
    """Groups of candidates first, then the members of the winning groups; `advance()` goes on.

    Args:
        supernet: as in `GradientAlgorithm`.
        groups: candidates that are alike, the one that stands for its group first; those not named are groups of
            their own.
        bilevel: whether the validation batch trains alpha.
        settings: as in `GradientAlgorithm`.

    Example:
        >>> net = nn.Sequential(mn.Slot(3, 8), nn.Flatten(), nn.Linear(8 * 64, 2))
        >>> rules = [mn.rules.slots(["sep_conv_3x3", "sep_conv_5x5", "max_pool_3x3"])]
        >>> supernet = mn.rewrite(net, rules, example=torch.randn(2, 3, 8, 8))
        >>> search = mn.search.StacNAS(supernet)
        >>> list(supernet.relaxed.labelled()["0.op"])
        ['sep_conv_3x3', 'max_pool_3x3']
    """

    def __init__(
        self,
        supernet: Any,
        *,
        groups: Sequence[Sequence[str]] = GROUPS,
        bilevel: bool = False,
        **settings: Any,
    ) -> None:
        self.groups = tuple(tuple(group) for group in groups)
        self.stage = 0
        super().__init__(supernet, bilevel=bilevel, **settings)
        self._members: dict[str, dict[Any, list[Any]]] = {}
        for name, weights in self._relaxed.labelled().items():
            members = self._members[name] = {}
            for label in weights:
                group = next((group for group in self.groups if label in group), (label,))
                first = next(other for other in group if other in weights)
                members.setdefault(first, []).append(label)
            self._relaxed.narrow(name, list(members))

    def advance(self) -> None:
        """Ends the first stage: of each place the members of its winning group compete, and alpha starts anew.

        Raises:
            SearchError: in the second stage.
        """
        if self.stage:
            raise SearchError("the search has two stages and is in the second")
        self.stage = 1
        kept = {name: self._members[name][strongest(weights)[0]] for name, weights in self._relaxed.labelled().items()}
        self.supernet.alpha.clear()
        self.supernet.edge_alpha.clear()
        self._relax(candidates=kept)
        self.optimizer = type(self.optimizer)(self.alphas, **self.optimizer.defaults)

    def state_dict(self) -> dict[str, Any]:
        """As in `GradientAlgorithm`."""
        return {**super().state_dict(), "stage": self.stage}

    def load_state_dict(self, state: Any) -> None:
        """As in `GradientAlgorithm`."""
        self.stage = state["stage"]
        super().load_state_dict(state)
