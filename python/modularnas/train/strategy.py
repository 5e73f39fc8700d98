"""What every training strategy is: the paths of a step, and what is done with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas.errors import SpaceError

__all__ = ["Strategy", "labels", "largest", "named", "settled", "smallest"]

LossFunction = Callable[[nn.Module, Any], Tensor]
Backward = Callable[[Tensor], Any]


class Strategy:
    """Trains a supernet step by step; a subclass says which paths.

    The paths of a step are a function of seed and step alone: nothing is drawn from torch's generator, every process of
    a distributed run takes the same ones, and a resumed run goes on where it was.

    Args:
        seed: the seed of the paths.

    Attributes:
        n_steps: how many steps were taken.
    """

    #: What `supernet.sampling` calls it.
    name: ClassVar[str]

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        self.n_steps = 0

    def n_paths(self, space: Any) -> int:
        """How many paths a step has."""
        return 1

    def paths(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """The paths of a step: codes of shape (n_paths, decisions), -1 where inactive."""
        raise NotImplementedError

    def step(
        self, supernet: nn.Module, loss_fn: LossFunction, batch: Any, *, backward: Backward | None = None
    ) -> Tensor:
        """One step on a batch: gradients are added up over its paths, the optimizer is the caller's.

        The gradients of several paths are summed, as in the papers. Call it several times before an optimizer step to
        accumulate gradients.

        Args:
            supernet: from `mn.rewrite`; or what wraps it: `torch.compile`, `DistributedDataParallel`.
            loss_fn: `loss_fn(net, batch)` returns the loss of the network on the batch, a scalar tensor.
            batch: whatever `loss_fn` takes.
            backward: what is done instead of `loss.backward()`, such as
                `lambda loss: scaler.scale(loss).backward()`, `fabric.backward` or `accelerator.backward`.

        Returns:
            The mean loss of the paths, detached.
        """
        net = unwrapped(supernet)
        losses = []
        rows = self.paths(net.space, self.seed, self.n_steps)
        for turn, codes in enumerate(rows.tolist()):
            net._switch(codes)
            with _synchronised(supernet, turn == len(rows) - 1):
                loss = self.loss(supernet, loss_fn, batch, turn)
                (backward or Tensor.backward)(loss)
            losses.append(loss.detach())
        self.n_steps += 1
        return torch.stack(losses).mean()

    def loss(self, supernet: nn.Module, loss_fn: LossFunction, batch: Any, turn: int) -> Tensor:
        """The loss of the active path, which is the step's `turn`-th."""
        return loss_fn(supernet, batch)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"n_steps": self.n_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on at the step of a `state_dict`."""
        self.n_steps = state["n_steps"]


def unwrapped(supernet: nn.Module) -> Any:
    """The supernet in what wraps it.

    Raises:
        SpaceError: if there is none.
    """
    net: Any = supernet
    while not hasattr(type(net), "sampling"):
        inner = net._modules.get("_orig_mod", net._modules.get("module")) if isinstance(net, nn.Module) else None
        if inner is None:
            raise SpaceError(
                f"a {type(supernet).__name__} is given to a training strategy; expected a supernet from mn.rewrite"
            )
        net = inner
    return net


def _synchronised(supernet: nn.Module, last: bool) -> Any:
    """Gradients are reduced among processes once a step, after the last path."""
    no_sync = getattr(supernet, "no_sync", None) if isinstance(supernet, nn.parallel.DistributedDataParallel) else None
    return nullcontext() if last or no_sync is None else no_sync()


def settled(space: Any, codes: list[int]) -> list[int]:
    """The codes with the decisions active that they make so, and no others; a parent comes before its children."""
    decisions = space.decisions
    index = {decision.name: i for i, decision in enumerate(decisions)}
    for i, decision in enumerate(decisions):
        if decision.active_if is not None:
            name, values = decision.active_if
            parent = index[name]
            active = codes[parent] >= 0 and labels(decisions[parent])[codes[parent]] in values
            codes[i] = max(codes[i], 0) if active else -1
    return codes


def labels(decision: Any) -> Sequence[Any]:
    """The values of a decision in the order of their codes.

    Raises:
        SpaceError: if it is a number.
    """
    if decision.choices is None:
        raise SpaceError(f"'{decision.name}' is {decision.kind}; training strategies need decisions with choices")
    if decision.take is not None:
        return tuple(itertools.combinations(decision.choices, decision.take))
    return tuple(decision.choices)


def largest(space: Any) -> list[int]:
    """The codes of the network with the most operations; among equals with the most parameters of each decision."""
    codes: list[int] = space.indices([space.extremes("macs")[1]])[0].tolist()
    return codes


def smallest(space: Any) -> list[int]:
    """The codes of the network with the fewest operations."""
    codes: list[int] = space.indices([space.extremes("macs")[0]])[0].tolist()
    return codes


def named(policy: str | Strategy, settings: dict[str, Any]) -> Strategy:
    """The strategy of a name, or the given one.

    Raises:
        SpaceError: for an unknown name.
    """
    from modularnas import train

    if isinstance(policy, Strategy):
        return policy
    known: Sequence[type[Strategy]] = train.STRATEGIES
    for strategy in known:
        if strategy.name == policy:
            return strategy(**settings)
    names = ", ".join(repr(strategy.name) for strategy in known)
    raise SpaceError(f"sampling is given {policy!r}; expected one of {names}, a strategy of mn.train, or None")
