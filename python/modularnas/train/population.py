"""Training the architectures of a population: the points that a search asks for, each in its turn.

What CARS trains between two generations (Yang et al. 2019, "CARS: Continuous Evolution for Efficient Neural
Architecture Search", arXiv 1909.04977, section 3.2, where the individuals of a batch are drawn from the population):
here they take turns, so that all are trained equally. ModularNAS' `SuperNetEstim` and `UnifiedEstim` drop what a
discrete search draws and train one architecture alone. `mn.evaluate.Interleaved` makes a study of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modularnas.errors import SpaceError
from modularnas.train.strategy import Strategy

__all__ = ["Population"]


class Population(Strategy):
    """The given points, one a step, in turns.

    Args:
        points: points of the supernet's space, one or more.
        seed: without meaning here; nothing is drawn.

    Raises:
        SpaceError: if there are no points.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7)], example=torch.randn(1, 3, 8, 8))
        >>> points = [{"0.kernel_size": 3}, {"0.kernel_size": 7}]
        >>> _ = supernet.train().sampling(mn.train.Population(points))
        >>> [(supernet(torch.randn(1, 3, 8, 8)), supernet.active_point["0.kernel_size"])[1] for _ in range(3)]
        [3, 7, 3]
    """

    name = "population"

    def __init__(self, points: Sequence[Any], *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.points = list(points)
        if not self.points:
            raise SpaceError("Population is given no points; expected one or more of the supernet's space")

    def paths(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """The point whose turn it is."""
        found: NDArray[np.int32] = space.indices([self.points[step % len(self.points)]])
        return found
