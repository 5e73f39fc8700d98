"""The registry of zero-cost proxies, and how one is measured so that nothing of the network changes."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from modularnas.errors import EvaluationError
from modularnas.evaluate.randomness import isolated

__all__ = ["Loss", "Probe", "describe", "measure", "names", "register"]

Loss: TypeAlias = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Probe:
    """A network of its own to look at, and a batch. Whoever gets it may change the network.

    Attributes:
        net: in eval mode, except that batch norms use the statistics of the batch (as at initialisation they have no
            others); dropout is off.
        x: inputs (N, ...).
        y: targets of the N inputs; None if there are none.
        loss: `loss(output, target)`, averaged over the batch.
    """

    net: nn.Module
    x: Tensor
    y: Any
    loss: Loss

    def weights(self) -> list[nn.Parameter]:
        """The matrices and kernels: trainable parameters of two dimensions or more, without biases and norms.

        Raises:
            EvaluationError: if there is none.
        """
        found = [parameter for parameter in self.net.parameters() if parameter.requires_grad and parameter.ndim > 1]
        if not found:
            raise EvaluationError("this proxy looks at weights, and the network has none to train")
        return found

    def batch_loss(self, part: slice = slice(None)) -> Tensor:
        """The loss on a part of the batch.

        Raises:
            EvaluationError: without targets.
        """
        if self.y is None:
            raise EvaluationError("this proxy needs targets; give batch=(x, y)")
        return self.loss(self.net(self.x[part]), self.y[part])

    def gradients(self, part: slice = slice(None)) -> list[tuple[nn.Parameter, Tensor]]:
        """Each weight with the gradient of the loss on a part of the batch; weights without one have zeros."""
        weights = self.weights()
        found = torch.autograd.grad(self.batch_loss(part), weights, allow_unused=True, materialize_grads=True)
        return list(zip(weights, found, strict=True))


_Measure: TypeAlias = Callable[[Probe], float]
_PROXIES: dict[str, _Measure] = {}


def register(name: str) -> Callable[[_Measure], _Measure]:
    """Registers a proxy under a name: a function from a `Probe` to a number, larger for better networks.

    Raises:
        EvaluationError: if the name is taken.

    Example:
        >>> @mn.evaluate.zero_cost.register("depth")
        ... def depth(probe):
        ...     return sum(isinstance(module, nn.Conv2d) for module in probe.net.modules())
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
        >>> mn.evaluate.zero_cost.measure(net, "depth", batch=torch.randn(2, 3, 8, 8))
        2.0
        >>> del mn.evaluate.zero_cost.proxy._PROXIES["depth"]
    """
    if name in _PROXIES:
        raise EvaluationError(f"there is already a zero-cost proxy '{name}'")

    def keep(proxy: _Measure) -> _Measure:
        _PROXIES[name] = proxy
        return proxy

    return keep


def names() -> list[str]:
    """The registered proxies."""
    return sorted(_PROXIES)


def describe(name: str) -> str:
    """What a proxy measures, in a line."""
    return (find(name).__doc__ or "").strip().partition("\n")[0]


def find(name: str) -> _Measure:
    """The proxy of a name.

    Raises:
        EvaluationError: if there is none, with near matches.
    """
    if name not in _PROXIES:
        near = difflib.get_close_matches(str(name), _PROXIES, 3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"expected one of {', '.join(names())}"
        raise EvaluationError(f"there is no zero-cost proxy {name!r}; {hint}")
    return _PROXIES[name]


def measure(
    net: nn.Module,
    proxy: str,
    batch: Any,
    *,
    loss: Loss = nn.functional.cross_entropy,
    fresh: bool = False,
    seed: int = 0,
) -> float:
    """One proxy of a network, larger for better networks.

    The proxy works on a copy and with random numbers of its own: weights, buffers, gradients, modes, hooks and the
    generators are as they were, also after an exception.

    Args:
        net: the network.
        proxy: one of `names()`.
        batch: `(x, y)` or `x` alone, for proxies that need no targets; inputs (N, ...). It is moved to the network's
            device.
        loss: `loss(output, target)`.
        fresh: whether all modules draw initial weights first (`reset_parameters`), as the proxies' papers have it.
        seed: the seed of all its random numbers.

    Raises:
        EvaluationError: for an unknown proxy, or one that needs targets if there are none.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
        >>> x, y = torch.randn(4, 3, 8, 8), torch.randint(10, (4,))
        >>> _ = net(x)
        >>> mn.evaluate.zero_cost.measure(net, "params", batch=(x, y))
        1562.0
    """
    found = find(proxy)
    x, y = batch if isinstance(batch, (tuple, list)) else (batch, None)
    if not isinstance(x, Tensor):
        raise EvaluationError(f"the batch holds a {type(x).__name__}; expected inputs as one tensor (N, ...)")
    own = copy.deepcopy(net).eval()
    device = next((parameter.device for parameter in own.parameters()), x.device)
    with isolated(seed), torch.enable_grad():
        for module in own.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if fresh and callable(reset):
                reset()
            if isinstance(module, _BatchNorm):
                module.train()
        target = y.to(device) if isinstance(y, Tensor) else y
        return float(found(Probe(own, x.detach().to(device), target, loss)))
