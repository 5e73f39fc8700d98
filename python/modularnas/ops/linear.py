"""Linear maps of the features: `linear`, and `low_rank_r4`, the product of two with a narrow middle.

The low-rank map has the smaller of input and output divided by `r`, rounded up, in the middle (Sainath et al. 2013,
"Low-rank matrix factorization for deep neural network training with high-dimensional output targets"); both halves
start from torch's defaults. The bias follows the slot, `(N, …, in)` to `(N, …, out)`.
"""

from __future__ import annotations

from torch import nn

from modularnas.ops import dims
from modularnas.ops.registry import FEATURES, register
from modularnas.ops.slot import Slot

__all__: list[str] = []


@register("linear", inputs=FEATURES)
def linear(slot: Slot) -> nn.Module:
    """Linear map of the features."""
    inside, outside = dims.features(slot)
    return nn.Linear(inside, outside, bias=bool(slot.bias))


@register("low_rank_r{reduction}", names=["low_rank_r2", "low_rank_r4"], inputs=FEATURES)
def low_rank(slot: Slot, reduction: int) -> nn.Module:
    """Linear map of a rank divided by {reduction}."""
    inside, outside = dims.features(slot)
    rank = -(-min(inside, outside) // reduction)
    return nn.Sequential(nn.Linear(inside, rank, bias=False), nn.Linear(rank, outside, bias=bool(slot.bias)))
