"""Losses that know what an architecture costs: `Add`, `Mult` and `MultLog`.

ModularNAS' criteria `AddMetrics`, `MultMetrics`, `MultLogMetrics` (Lin et al. 2021): the cost m, relative to a target,
is added to the loss (ProxylessNAS, Cai, Zhu and Han 2018, arXiv 1812.00332, equation 7) or scales it (MnasNet, Tan et
al. 2018, arXiv 1807.11626, equation 2; with logarithms FBNet, Wu et al. 2018, arXiv 1812.03443, equation 2). Without a
target the cost is compared with its own moving average, so that only changes count. Defaults are the original's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modularnas.errors import SearchError

__all__ = ["Add", "MetricLoss", "Mult", "MultLog"]


class MetricLoss:
    """A loss made of a loss and a cost.

    Args:
        metric: the cost: "params", "macs", "activation_bytes", or one attached to the space by `with_cost`.
        target: what the cost should be, above 0 (above 1 for `MultLog`); None: its moving average.
        decay: how far the moving average goes to each new cost.
    """

    def __init__(self, metric: str, *, target: float | None = None, decay: float = 0.1) -> None:
        if target is not None and not target > 0:
            raise SearchError(f"the target of {metric!r} is {target}; expected more than 0, or None")
        self.metric = metric
        self.target = target
        self.decay = decay
        self._average: float | None = None

    def __call__(self, loss: Tensor, cost: Tensor) -> Tensor:
        """The loss with the cost in it.

        Args:
            loss: a scalar.
            cost: a scalar, such as `supernet.relaxed.expected_cost("macs")`, or that of one point.
        """
        if self.target is not None:
            return self._joined(loss, cost, self.target)
        now = float(cost.detach())
        before = now if self._average is None else self._average
        self._average = before + self.decay * (now - before)
        return self._joined(loss, cost, self._average)

    def _joined(self, loss: Tensor, cost: Tensor, target: float) -> Tensor:
        raise NotImplementedError


class Add(MetricLoss):
    """loss + weight * (cost / target - 1).

    Args:
        metric: as in `MetricLoss`.
        weight: how much the relative cost counts.
        target: as in `MetricLoss`.
        decay: as in `MetricLoss`.

    Example:
        >>> mn.search.Add("macs", weight=0.5, target=10.0)(torch.tensor(2.0), torch.tensor(15.0))
        tensor(2.2500)
    """

    def __init__(self, metric: str, *, weight: float = 0.01, target: float | None = None, decay: float = 0.1) -> None:
        super().__init__(metric, target=target, decay=decay)
        self.weight = weight

    def _joined(self, loss: Tensor, cost: Tensor, target: float) -> Tensor:
        return loss + self.weight * (cost / target - 1)


class Mult(MetricLoss):
    """scale * loss * (cost / target) ** exponent.

    Args:
        metric: as in `MetricLoss`.
        scale: a factor.
        exponent: how steep the cost counts.
        target: as in `MetricLoss`.
        decay: as in `MetricLoss`.

    Example:
        >>> mn.search.Mult("macs", exponent=1.0, target=10.0)(torch.tensor(2.0), torch.tensor(15.0))
        tensor(3.)
    """

    def __init__(
        self,
        metric: str,
        *,
        scale: float = 1.0,
        exponent: float = 0.6,
        target: float | None = None,
        decay: float = 0.1,
    ) -> None:
        super().__init__(metric, target=target, decay=decay)
        self.scale = scale
        self.exponent = exponent

    def _joined(self, loss: Tensor, cost: Tensor, target: float) -> Tensor:
        return self.scale * loss * (cost / target) ** self.exponent


class MultLog(Mult):
    """scale * loss * (log cost / log target) ** exponent; cost and target are above 1.

    Args:
        metric: as in `MetricLoss`.
        scale: as in `Mult`.
        exponent: as in `Mult`.
        target: as in `MetricLoss`.
        decay: as in `MetricLoss`.

    Example:
        >>> mn.search.MultLog("macs", exponent=1.0, target=10.0)(torch.tensor(2.0), torch.tensor(100.0))
        tensor(4.)
    """

    def _joined(self, loss: Tensor, cost: Tensor, target: float) -> Tensor:
        if not target > 1:
            raise SearchError(f"the target of {self.metric!r} is {target}; logarithms need one above 1")
        return self.scale * loss * (cost.log() / torch.tensor(target).to(cost).log()) ** self.exponent
