"""A callback for the `Trainer` of Hugging Face: `Trainer(..., callbacks=[mn.train.hugging_face.callback("uniform")])`.

The trained model is a supernet or holds one, and every forward takes the next path. Strategies that train k paths a
step want `gradient_accumulation_steps=k`, which gives each path a batch of its own. Checkpoints hold the step of the
sampling, so a resumed run goes on with the next path.
"""

from __future__ import annotations

from typing import Any

from modularnas.errors import MissingExtraError
from modularnas.train.strategy import Strategy
from modularnas.train.turns import Turns

__all__ = ["callback"]


def callback(policy: str | Strategy = "uniform", seed: int = 0, *, evaluate: Any = None, **settings: Any) -> Any:
    """A `transformers.TrainerCallback` that samples paths while the trainer trains.

    Args:
        policy: as in `supernet.sampling`.
        seed: the seed of the paths.
        evaluate: the point that evaluation sees; None: the one that was drawn last.
        **settings: of the named strategy.

    Raises:
        MissingExtraError: without transformers.
    """
    try:
        from transformers import TrainerCallback
    except ImportError:
        raise MissingExtraError(
            'mn.train.hugging_face needs transformers, which is not installed: pip install "modularnas[transformers]"'
        ) from None

    class Sampling(TrainerCallback):  # type: ignore[misc, unused-ignore]  # it may be missing
        def __init__(self) -> None:
            self.turns = Turns(policy, seed, evaluate, settings)

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            self.turns.begin(model)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.turns.look()  # an evaluation may follow; the next forward in train mode draws again

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.turns.end()

    return Sampling()
