"""ProxylessNAS with REINFORCE: paths that score above the average become more probable.

Cai, Zhu and Han 2018, arXiv 1812.00332, section 3.3.2 and equation 8; the estimator of Williams 1992
(https://doi.org/10.1007/BF00992696): the gradient of the expected reward is the mean over drawn paths of (reward -
baseline) times the gradient of their log-probability. No gradient passes through the network, so the reward may be
anything, also what has none. Ten paths a step, a baseline that goes 99 % of the way to each new mean, and Adam
with lr 1e-3 and without momentum are their code's (`rl_batch_size`, `rl_baseline_decay_weight`).

Decisions inside of candidates that were not drawn do not count: they had no part in the reward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from modularnas.errors import SearchError
from modularnas.search.gradient.algorithm import GradientAlgorithm, LossFunction, gradients_of

__all__ = ["ProxylessR"]


class ProxylessR(GradientAlgorithm):
    """Binary gates trained by REINFORCE.

    Args:
        supernet: as in `GradientAlgorithm`.
        samples: paths a step.
        baseline_weight: how far the baseline goes to the mean reward of each step, from 0 to 1.
        reward: `reward(loss, point)`, larger is better; None: minus the loss (with the path's own cost by `cost=`).
        settings: as in `GradientAlgorithm`.
    """

    relaxation = "binary_gate"
    adam = {"lr": 1e-3, "betas": (0.0, 0.999), "weight_decay": 0.0}  # noqa: RUF012 - a constant

    def __init__(
        self,
        supernet: Any,
        *,
        samples: int = 10,
        baseline_weight: float = 0.99,
        reward: Callable[[float, Any], float] | None = None,
        **settings: Any,
    ) -> None:
        if samples < 1:
            raise SearchError(f"samples is {samples}; expected 1 or more")
        super().__init__(supernet, paths=1, **settings)
        self.samples = samples
        self.baseline_weight = baseline_weight
        self.reward = reward
        self.baseline: float | None = None

    def gradients(
        self,
        loss_fn: LossFunction,
        train_batch: Any,
        valid_batch: Any,
        weights_optimizer: torch.optim.Optimizer | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """As in `GradientAlgorithm`."""
        losses, rewards, logs = [], [], []
        for _ in range(self.samples):
            with torch.no_grad():
                loss = loss_fn(self.supernet, valid_batch)
            losses.append(loss)
            rewards.append(self._rewarded(loss))
            logs.append(self._relaxed.log_probability())
        mean = sum(rewards) / len(rewards)
        if self.baseline is None:
            self.baseline = mean
        advantages = [reward - self.baseline for reward in rewards]
        self.baseline += self.baseline_weight * (mean - self.baseline)
        surrogate = torch.stack([-advantage * log for advantage, log in zip(advantages, logs, strict=True)]).mean()
        return torch.stack(losses).mean(), gradients_of(surrogate, self.alphas)

    def _rewarded(self, loss: Tensor) -> float:
        point = self._relaxed.drawn
        if self.reward is not None:
            return self.reward(float(loss), point)
        if self.cost is not None:
            cost = self.supernet.cost(point)[self.cost.metric]
            loss = self.cost(loss, torch.tensor(float(cost)).to(loss))
        return -float(loss)

    def state_dict(self) -> dict[str, Any]:
        """As in `GradientAlgorithm`."""
        return {**super().state_dict(), "baseline": self.baseline}

    def load_state_dict(self, state: Any) -> None:
        """As in `GradientAlgorithm`."""
        super().load_state_dict(state)
        self.baseline = state["baseline"]
