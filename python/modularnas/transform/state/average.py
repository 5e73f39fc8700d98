"""The average of checkpoints (Izmailov et al. 2018, arXiv 1803.05407)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from modularnas import _core

__all__ = ["average"]


def average(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The weighted average of `state_dict`s of one model, summed in double precision.

    Running statistics of batch norms are averaged like weights and want `mn.evaluate.recalibrate`; counters are the
    last checkpoint's.

    Args:
        states: the checkpoints.
        weights: one number each; None: all alike.

    Raises:
        NetworkError: without a checkpoint, or if one lacks a tensor.

    Example:
        >>> mn.transform.average([{"w": torch.zeros(2)}, {"w": torch.ones(2)}], weights=[1, 3])
        {'w': tensor([0.7500, 0.7500])}
    """
    plain = [{name: tensor.detach() for name, tensor in state.items()} for state in states]
    made = _core.average_weights(plain, [1.0] * len(plain) if weights is None else [float(w) for w in weights])
    return {name: made[name] for name in states[-1]}
