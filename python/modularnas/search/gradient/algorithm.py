"""What every gradient-based search is: a relaxed supernet, a gradient of its architecture parameters, a step of theirs.

A search changes two things alone: `alpha.grad` in `backward`, alpha in `step`. Gradients are taken of alpha only
(`torch.autograd.grad`), so those of the weights are left alone; buffers such as the statistics of batch norms are put
back after the passes that a search makes for itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from modularnas.errors import SearchError
from modularnas.search.gradient.metric_loss import MetricLoss

__all__ = ["GradientAlgorithm", "LossFunction", "Schedule"]

LossFunction = Callable[[Any, Any], Tensor]
Schedule = Callable[[int], float]


class GradientAlgorithm:
    """A gradient-based search of the architecture parameters of a supernet.

    `step(loss_fn, train_batch, valid_batch, weights_optimizer=)` comes before the user's own step of the weights.
    Weights are trained on the relaxed supernet; `point()` is the architecture found.

    Args:
        supernet: from `mn.rewrite`; it is relaxed here.
        optimizer: of the architecture parameters, `torch.optim.Optimizer` over `supernet.alpha.values()`; None: Adam as
            the method's authors set it.
        cost: a term for expected costs in the loss, such as `mn.search.Add("macs", weight=0.1, target=1e8)`.
        temperature: the relaxation's, a number or a function of the step; None: the method's own.
        warmup_steps: steps that leave the architecture parameters alone, while the weights are trained.
        seed: of the parameters' start and everything that is drawn.
        settings: further settings of the relaxation.

    Attributes:
        n_steps: steps so far.
    """

    #: The relaxation that it trains.
    relaxation: ClassVar[str] = "softmax"
    #: Adam's settings, those of DARTS' code (arXiv 1806.09055, appendix A.1.1) unless a method has its own.
    adam: ClassVar[dict[str, Any]] = {"lr": 3e-4, "betas": (0.5, 0.999), "weight_decay": 1e-3}

    def __init__(
        self,
        supernet: Any,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        cost: MetricLoss | None = None,
        temperature: float | Schedule | None = None,
        warmup_steps: int = 0,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        if not isinstance(supernet, nn.Module) or not hasattr(supernet, "relax"):
            raise SearchError(
                f"{type(self).__name__} is given a {type(supernet).__name__}; expected a supernet from mn.rewrite"
            )
        self.supernet: Any = supernet
        self.cost = cost
        self.warmup_steps = warmup_steps
        self.n_steps = 0
        self._seed = seed
        self._temperature = temperature
        self._settings = settings
        self._relax()
        self.optimizer = torch.optim.Adam(self.alphas, **self.adam) if optimizer is None else optimizer

    def _relax(self, **more: Any) -> None:
        """Relaxes the supernet as this method does; remembers the state to see whether the user left it."""
        self.supernet.relax(self.relaxation, seed=self._seed, **self._settings, **more)
        self._relaxed = self.supernet.relaxed
        self._heat()

    def _heat(self) -> None:
        if self._temperature is not None:
            now = self._temperature(self.n_steps) if callable(self._temperature) else self._temperature
            self._relaxed.relaxation.temperature = now

    @property
    def alphas(self) -> list[Tensor]:
        """The architecture parameters that are learnt."""
        return list(self._relaxed.parameters().values())

    def backward(
        self,
        loss_fn: LossFunction,
        train_batch: Any,
        valid_batch: Any,
        weights_optimizer: torch.optim.Optimizer | None = None,
    ) -> Tensor:
        """Fills `alpha.grad` and changes nothing else; what was in it is replaced.

        Args:
            loss_fn: `loss_fn(supernet, batch)` gives the loss, a scalar.
            train_batch: a batch of the data that trains the weights.
            valid_batch: a batch of the data that trains the architecture.
            weights_optimizer: the optimizer of the weights, for methods that look one step of it ahead.

        Returns:
            The loss that was differentiated, without its graph.
        """
        if self.supernet.relaxed is not self._relaxed:  # the user activated a point in between
            step, candidates = self._relaxed.step, self._relaxed.labelled()
            self._relax(candidates={name: list(kept) for name, kept in candidates.items()})
            self._relaxed.step = step
        with self._kept_buffers():
            loss, gradients = self.gradients(loss_fn, train_batch, valid_batch, weights_optimizer)
        for alpha, gradient in zip(self.alphas, _averaged(gradients), strict=True):
            alpha.grad = gradient
        return loss.detach()

    def step(
        self,
        loss_fn: LossFunction,
        train_batch: Any,
        valid_batch: Any,
        weights_optimizer: torch.optim.Optimizer | None = None,
    ) -> Tensor | None:
        """`backward` and a step of the architecture parameters; None during the warm-up.

        Args:
            loss_fn: as in `backward`.
            train_batch: as in `backward`.
            valid_batch: as in `backward`.
            weights_optimizer: as in `backward`.
        """
        loss = None
        self._heat()
        if self.n_steps >= self.warmup_steps:
            loss = self.backward(loss_fn, train_batch, valid_batch, weights_optimizer)
            self.update()
        self.n_steps += 1
        return loss

    def update(self) -> None:
        """The step of the architecture parameters by their gradients."""
        self.optimizer.step()

    def gradients(
        self,
        loss_fn: LossFunction,
        train_batch: Any,
        valid_batch: Any,
        weights_optimizer: torch.optim.Optimizer | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss and its gradients of the architecture parameters; here of the validation loss."""
        loss = self.objective(loss_fn, valid_batch)
        return loss, gradients_of(loss, self.alphas)

    def objective(self, loss_fn: LossFunction, batch: Any) -> Tensor:
        """The loss of a batch with the method's own terms and that of costs."""
        loss = loss_fn(self.supernet, batch)
        term = self.regulariser()
        loss = loss if term is None else loss + term
        if self.cost is not None:
            loss = self.cost(loss, self._relaxed.expected_cost(self.cost.metric))
        return loss

    def regulariser(self) -> Tensor | None:
        """The method's own term of the loss."""
        return None

    def point(self) -> Any:
        """The architecture found so far: the strongest choices, as a point of the space."""
        return self._relaxed.point()

    @contextlib.contextmanager
    def _kept_buffers(self) -> Iterator[None]:
        buffers = [(buffer, buffer.clone()) for buffer in self.supernet.buffers()]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs beside the supernet's own `state_dict`."""
        return {
            "n_steps": self.n_steps,
            "step": self._relaxed.step,
            "candidates": {name: list(kept) for name, kept in self._relaxed.labelled().items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self.n_steps = state["n_steps"]
        self._relaxed.step = state["step"]
        for name, kept in state["candidates"].items():
            self._relaxed.narrow(name, kept)
        self.optimizer.load_state_dict(state["optimizer"])
        self._heat()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._relaxed.relaxation!r}, n_steps={self.n_steps})"


def gradients_of(loss: Tensor, inputs: Sequence[Tensor], **options: Any) -> list[Tensor]:
    """The gradients of a loss, zeros for what it does not depend on."""
    found = torch.autograd.grad(loss, inputs, allow_unused=True, **options)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def _averaged(gradients: list[Tensor]) -> list[Tensor]:
    """The mean over the processes of a distributed run, whose own hooks see `backward()` alone."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return gradients
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    parts = (flat / distributed.get_world_size()).split([gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]
