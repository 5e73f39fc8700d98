"""DARTS: the architecture descends the validation loss, weights the training loss.

Liu, Simonyan and Yang 2018, "DARTS: Differentiable Architecture Search", arXiv 1806.09055. First order (xi = 0): the
gradient of the validation loss at the present weights. Second order (`unrolled=True`): at the weights after one step of
their optimizer, w' = w - xi d(w), equation 6, whose gradient is equation 7:

    grad_alpha L_val(w', alpha) - xi grad^2_{alpha, w} L_train(w, alpha) grad_{w'} L_val(w', alpha)

The second term is a finite difference, equation 8: with v = xi grad_{w'} L_val and w+- = w +- eps v it is
(grad_alpha L_train(w+) - grad_alpha L_train(w-)) / (2 eps), eps = 0.01 / |v| (footnote 2); ModularNAS multiplies by
eps / 2 there. `hessian="exact"` takes it by a second backward pass instead: a difference across the kink of a ReLU or a
pool is no derivative, which a small network shows.

Deviations: d is the direction of the very optimizer that is given, as in the authors' code: of `torch.optim.SGD` with
momentum, dampening, Nesterov and weight decay, xi its learning rate of each parameter; of other optimizers the plain
gradient with weight decay. The three passes over the training batch use the same random numbers (dropout, drawn
paths): a difference of two noises is no derivative.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from modularnas.errors import SearchError
from modularnas.search.gradient.algorithm import GradientAlgorithm, LossFunction, gradients_of

__all__ = ["DARTS"]


class DARTS(GradientAlgorithm):
    """DARTS, of first order, or of second order with `unrolled=True`.

    Args:
        supernet: as in `GradientAlgorithm`.
        unrolled: whether the gradient looks one step of the weights ahead.
        hessian: how the term of second order is found: "finite_difference", two more passes; "exact", a second backward
            pass, which every op of the network must have.
        epsilon: the length of the finite difference.
        settings: as in `GradientAlgorithm`.

    Example:
        >>> net = nn.Sequential(mn.Slot(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> rules = [mn.rules.slots(["conv_3x3", "max_pool_3x3"])]
        >>> supernet = mn.rewrite(net, rules, example=torch.randn(2, 3, 8, 8))
        >>> weights = torch.optim.SGD(supernet.model.parameters(), 0.05)
        >>> darts = mn.search.DARTS(supernet, unrolled=True)
        >>> batch = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
        >>> def loss_fn(net, batch):
        ...     return nn.functional.cross_entropy(net(batch[0]), batch[1])
        >>> _ = darts.step(loss_fn, batch, batch, weights_optimizer=weights)   # then your own step of the weights
        >>> darts.point() in supernet.space
        True
    """

    def __init__(
        self,
        supernet: Any,
        *,
        unrolled: bool = False,
        hessian: Literal["finite_difference", "exact"] = "finite_difference",
        epsilon: float = 0.01,
        **settings: Any,
    ) -> None:
        if hessian not in ("finite_difference", "exact"):
            raise SearchError(f"hessian is {hessian!r}; expected 'finite_difference' or 'exact'")
        super().__init__(supernet, **settings)
        self.unrolled = unrolled
        self.hessian = hessian
        self.epsilon = epsilon

    def gradients(
        self,
        loss_fn: LossFunction,
        train_batch: Any,
        valid_batch: Any,
        weights_optimizer: torch.optim.Optimizer | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """As in `GradientAlgorithm`."""
        if not self.unrolled:
            return super().gradients(loss_fn, train_batch, valid_batch, weights_optimizer)
        if weights_optimizer is None:
            raise SearchError("DARTS(unrolled=True) looks one step ahead; give weights_optimizer=")
        alphas = self.alphas
        known = {id(alpha) for alpha in alphas}
        groups = [(w, group) for group in weights_optimizer.param_groups for w in group["params"]]
        groups = [(w, group) for w, group in groups if w.requires_grad and id(w) not in known]
        weights = [w for w, _ in groups]
        noise = _Noise(self)
        training = gradients_of(loss_fn(self.supernet, train_batch), weights)
        before = [w.detach().clone() for w in weights]
        rates = []
        try:
            with torch.no_grad():
                for (w, group), gradient in zip(groups, training, strict=True):
                    direction, rate = _direction(w, gradient, group, weights_optimizer)
                    rates.append(group["lr"] * rate)
                    w.sub_(group["lr"] * direction)
            loss = self.objective(loss_fn, valid_batch)
            of_both = gradients_of(loss, [*alphas, *weights])
        finally:
            _put(weights, before)
        vector = [rate * g for rate, g in zip(rates, of_both[len(alphas) :], strict=True)]
        product = self._exact if self.hessian == "exact" else self._difference
        second = product(lambda: loss_fn(self.supernet, train_batch), weights, vector, noise)
        return loss, [first - s for first, s in zip(of_both[: len(alphas)], second, strict=True)]

    def _exact(
        self, training: Callable[[], Tensor], weights: list[Tensor], vector: list[Tensor], noise: _Noise
    ) -> list[Tensor]:
        """The mixed second derivative of the training loss times a vector, by a second backward pass."""
        noise.repeat()
        gradients = gradients_of(training(), weights, create_graph=True)
        product = torch.stack([(g * v).sum() for g, v in zip(gradients, vector, strict=True)]).sum()
        return gradients_of(product, self.alphas)

    def _difference(
        self, training: Callable[[], Tensor], weights: list[Tensor], vector: list[Tensor], noise: _Noise
    ) -> list[Tensor]:
        """The same by a central difference along the vector."""
        length = math.sqrt(sum(float(v.square().sum()) for v in vector))
        if not length:
            return [torch.zeros_like(alpha) for alpha in self.alphas]
        epsilon = self.epsilon / length
        before = [w.detach().clone() for w in weights]
        sides = []
        try:
            for sign in (1, -1):
                _put(weights, [w + sign * epsilon * v for w, v in zip(before, vector, strict=True)])
                noise.repeat()
                sides.append(gradients_of(training(), self.alphas))
        finally:
            _put(weights, before)
        return [(up - down) / (2 * epsilon) for up, down in zip(*sides, strict=True)]


@torch.no_grad()
def _put(weights: list[Tensor], values: list[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)


def _direction(
    weight: Tensor, gradient: Tensor, group: dict[str, Any], optimizer: torch.optim.Optimizer
) -> tuple[Tensor, float]:
    """What a step subtracts, divided by the learning rate, and its derivative by the gradient."""
    direction = gradient.detach() + group.get("weight_decay", 0.0) * weight
    momentum = group.get("momentum", 0.0) if isinstance(optimizer, torch.optim.SGD) else 0.0
    if not momentum:
        return direction, 1.0
    buffer = optimizer.state[weight].get("momentum_buffer") if weight in optimizer.state else None
    share = 1.0
    if buffer is None:
        moved = direction
    else:
        share = 1 - group["dampening"]
        moved = momentum * buffer + share * direction
    if group["nesterov"]:
        return direction + momentum * moved, 1 + momentum * share
    return moved, share


class _Noise:
    """The random numbers of a pass, to be used again."""

    def __init__(self, search: GradientAlgorithm) -> None:
        self.relaxed = search.supernet.relaxed
        self.step = self.relaxed.step
        self.cpu = torch.get_rng_state()
        devices = {w.device for w in search.supernet.parameters() if w.device.type == "cuda"}
        self.cuda = {device: torch.cuda.get_rng_state(device) for device in devices}

    def repeat(self) -> None:
        self.relaxed.step = self.step
        torch.set_rng_state(self.cpu)
        for device, state in self.cuda.items():
            torch.cuda.set_rng_state(state, device)
