"""Uniform gates: as binary gates, but candidates are drawn uniformly.

ModularNAS' ProxylessNAS-GU (Lin et al. 2021, table 3; its `BinaryGateUniformMixedOp`): all candidates are trained and
compared equally often, whatever alpha says by now; the gradient is that of the binary gates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modularnas.nn.relax.binary_gate import BinaryGate

__all__ = ["UniformGate"]


class UniformGate(BinaryGate):
    """One candidate drawn uniformly, with the gradient of two drawn uniformly."""

    name = "uniform_gate"

    def choices(self, logits: Tensor) -> Tensor:
        """As in `BinaryGate`."""
        return torch.full_like(logits, 1 / logits.shape[-1])
