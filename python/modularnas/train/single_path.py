"""One path a step, each decision uniform over its values.

Guo et al. 2019, "Single Path One-Shot Neural Architecture Search with Uniform Sampling" (SPOS), arXiv 1904.00420,
section 3.2: weights are trained on one random path at a time, so memory and time are those of one network, and the
search afterwards is free in its constraints.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modularnas.train.strategy import Strategy

__all__ = ["SinglePath"]


class SinglePath(Strategy):
    """One uniform path a step (SPOS).

    Args:
        seed: the seed of the paths.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> x = torch.randn(2, 3, 8, 8)
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=x)
        >>> strategy = mn.train.SinglePath()
        >>> loss = strategy.step(supernet, lambda net, x: net(x).square().mean(), x)
        >>> all(parameter.grad is not None for parameter in supernet.parameters())
        True
    """

    name = "uniform"

    def paths(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """One random path."""
        rows: NDArray[np.int32] = space.sample_indices(seed, step, 1)
        return rows
