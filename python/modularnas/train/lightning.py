"""A callback for Lightning: `Trainer(callbacks=[mn.train.lightning.callback("uniform")])`.

The module's own `training_step` calls the supernet that it holds, and every forward takes the next path. Strategies
that train k paths a step want `accumulate_grad_batches=k`, which gives each path a batch of its own; for all paths on
one batch call `strategy.step(..., backward=self.manual_backward)` in a module with manual optimization. Checkpoints
hold the step of the sampling, so a resumed run goes on with the next path.
"""

from __future__ import annotations

from typing import Any

from modularnas.errors import MissingExtraError
from modularnas.train.strategy import Strategy
from modularnas.train.turns import Turns

__all__ = ["callback"]


def callback(policy: str | Strategy = "uniform", seed: int = 0, *, evaluate: Any = None, **settings: Any) -> Any:
    """A `lightning.Callback` that samples paths while the trainer trains.

    Args:
        policy: as in `supernet.sampling`.
        seed: the seed of the paths.
        evaluate: the point that validation sees; None: the one that was drawn last.
        **settings: of the named strategy.

    Raises:
        MissingExtraError: without Lightning.
    """
    try:
        from lightning.pytorch import Callback
    except ImportError:
        raise MissingExtraError(
            'mn.train.lightning needs Lightning, which is not installed: pip install "modularnas[lightning]"'
        ) from None

    class Sampling(Callback):  # type: ignore[misc, unused-ignore]  # it may be missing
        def __init__(self) -> None:
            self.turns = Turns(policy, seed, evaluate, settings)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.turns.begin(pl_module)

        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
            self.turns.look()

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self.turns.end()

    return Sampling()
