"""A guard against collapse: differentiable searches that end in skip connections.

Two published signs. Skip connections: DARTS+ (Liang et al. 2019, arXiv 1909.06035, criterion 1) stops when a cell has
two or more of them. Curvature: R-DARTS (Zela et al. 2019, "Understanding and Robustifying Differentiable Architecture
Search", arXiv 1909.09656, section 4.2): the dominant eigenvalue of the validation loss' Hessian by alpha rises before
the architecture gets worse; the search stops when the mean of a window of it, taken `window` checks ago, is below
0.75 of its present mean, and goes back to the architecture of then. The eigenvalue is found by power iteration on
products of the Hessian with vectors, which are second backward passes; nothing is approximated but its convergence.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from modularnas.search.gradient.algorithm import GradientAlgorithm, LossFunction, gradients_of

__all__ = ["CollapseGuard", "dominant_eigenvalue"]


def dominant_eigenvalue(
    search: GradientAlgorithm, loss_fn: LossFunction, batch: Any, *, iterations: int = 20, seed: int = 0
) -> float:
    """The eigenvalue of largest magnitude of the Hessian of the loss by alpha.

    Args:
        search: whose alpha.
        loss_fn: `loss_fn(supernet, batch)` gives the loss.
        batch: a batch of the validation data.
        iterations: of the power method; it ends sooner when the value stands still.
        seed: of the vector that it starts with.
    """
    generator = torch.Generator().manual_seed(seed)
    alphas = search.alphas
    vector = [torch.randn(a.shape, generator=generator, dtype=torch.float64).to(a) for a in alphas]
    value = 0.0
    with search._kept_buffers():  # to the end: batch norms need their buffers for a second backward pass
        gradients = gradients_of(loss_fn(search.supernet, batch), alphas, create_graph=True)
        for _ in range(iterations):
            length = _norm(vector)
            if not length:
                return 0.0
            vector = [v / length for v in vector]
            product = torch.stack([(g * v).sum() for g, v in zip(gradients, vector, strict=True)]).sum()
            if not product.requires_grad:  # the loss is linear in alpha
                return 0.0
            image = gradients_of(product, alphas, retain_graph=True)
            before, value = value, float(sum((i * v).sum() for i, v in zip(image, vector, strict=True)))
            vector = image
            if abs(value - before) <= 1e-4 * abs(value):
                break
    return value


def _norm(vector: Sequence[Tensor]) -> float:
    return float(torch.stack([v.square().sum() for v in vector]).sum().sqrt())


class CollapseGuard:
    """Says when a search should stop; call it once an epoch.

    Args:
        search: the search.
        max_skips: more skip connections than this in the architecture are a collapse; None: not looked at.
        ratio: R-DARTS' threshold; None: the eigenvalue is not computed.
        window: checks in a mean of eigenvalues, and between the two means.
        skips: the names of skip connections.
        where: a glob over decisions: among which skip connections are counted.

    Attributes:
        eigenvalues: of each check.
        points: the architecture of each check.
        safe_point: the last architecture before the collapse; None before the first check.

    Example:
        >>> net = nn.Sequential(mn.Slot(4, 4), nn.Flatten(), nn.Linear(4 * 64, 2))
        >>> rules = [mn.rules.slots(["identity", "conv_3x3"])]
        >>> search = mn.search.DARTS(mn.rewrite(net, rules, example=torch.randn(2, 4, 8, 8)))
        >>> guard = mn.search.CollapseGuard(search, max_skips=0, ratio=None)
        >>> with torch.no_grad():
        ...     _ = search.supernet.alpha["0.op"].copy_(torch.tensor([1.0, 0.0]))
        >>> guard()
        '1 skip connections, more than 0'
    """

    def __init__(
        self,
        search: GradientAlgorithm,
        *,
        max_skips: int | None = 2,
        ratio: float | None = 0.75,
        window: int = 5,
        skips: Sequence[str] = ("identity", "skip_connect"),
        where: str = "*",
    ) -> None:
        self.search = search
        self.max_skips = max_skips
        self.ratio = ratio
        self.window = window
        self.skips = tuple(skips)
        self.where = where
        self.eigenvalues: list[float] = []
        self.points: list[Any] = []
        self.safe_point: Any = None

    def __call__(self, loss_fn: LossFunction | None = None, valid_batch: Any = None) -> str | None:
        """Why the search should stop; None if it may go on.

        Args:
            loss_fn: as in `backward`; None: only skip connections are counted.
            valid_batch: a batch of the validation data.
        """
        point = self.search.point()
        self.points.append(point)
        if self.ratio is not None and loss_fn is not None:
            self.eigenvalues.append(dominant_eigenvalue(self.search, loss_fn, valid_batch))
        n_skips = sum(choice in self.skips for name, choice in point.items() if fnmatch.fnmatchcase(name, self.where))
        if self.max_skips is not None and n_skips > self.max_skips:
            return f"{n_skips} skip connections, more than {self.max_skips}"
        if self.ratio is not None and len(self.eigenvalues) >= 2 * self.window:
            before = _mean(self.eigenvalues[-2 * self.window : -self.window])
            now = _mean(self.eigenvalues[-self.window :])
            if before < self.ratio * now:
                self.safe_point = self.points[-self.window - 1]
                return f"the largest eigenvalue rose from {before:.3g} to {now:.3g} within {self.window} checks"
        self.safe_point = point
        return None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
