"""What the callbacks of trainers have in common: the supernet in a model, sampling while it trains."""

from __future__ import annotations

from typing import Any

from torch import nn

from modularnas.errors import SpaceError
from modularnas.train.strategy import Strategy

__all__ = ["Turns"]


class Turns:
    """Turns sampling on while a trainer trains, and a fixed point while it evaluates.

    Args:
        policy: as in `supernet.sampling`.
        seed: the seed of the paths.
        evaluate: the point that validation sees; None: the one that was drawn last.
        settings: of the named strategy.
    """

    def __init__(self, policy: str | Strategy, seed: int, evaluate: Any, settings: dict[str, Any]) -> None:
        self.policy = policy
        self.seed = seed
        self.evaluate = evaluate
        self.settings = settings
        self.supernet: Any = None

    def begin(self, model: nn.Module) -> None:
        """Training begins: paths go on where the supernet's state says."""
        self.supernet = _found(model)
        step = self.supernet._step
        self.supernet.sampling(self.policy, self.seed, **self.settings)
        self.supernet._step = step

    def look(self) -> None:
        """Evaluation begins."""
        if self.supernet is not None and self.evaluate is not None:
            self.supernet.activate(self.evaluate)

    def end(self) -> None:
        """Training ended."""
        if self.supernet is not None:
            step = self.supernet._step
            self.supernet.sampling(None)
            self.supernet._step = step  # for a checkpoint that is written now


def _found(model: nn.Module) -> Any:
    for module in model.modules():
        if hasattr(type(module), "sampling") and hasattr(type(module), "learn_kernels"):
            return module
    raise SpaceError(f"the {type(model).__name__} that is trained holds no supernet; put one from mn.rewrite into it")
