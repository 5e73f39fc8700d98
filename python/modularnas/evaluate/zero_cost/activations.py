"""Where activations are on: one binary code an input, from every rectifier that a forward runs, module or function.

A dispatch mode sees the operators below autograd, so `nn.ReLU`, `F.relu` and `x.relu_()` are all found, whatever the
user's code looks like. A unit counts as on where the activation's input is above 0.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from modularnas.errors import EvaluationError
from modularnas.evaluate.zero_cost.proxy import Probe

__all__ = ["codes"]

_ACTIVATIONS = {
    f"aten::{name}{suffix}"
    for name in (
        "relu relu6 leaky_relu hardtanh prelu _prelu_kernel elu celu gelu silu mish hardswish hardsigmoid softplus"
    ).split()
    for suffix in ("", "_")
}


class _Codes(TorchDispatchMode):
    """Keeps the code of every activation, as boolean rows (N, units)."""

    def __init__(self, n: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n = n
        self.rows: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in _ACTIVATIONS and args[0].shape[0] == self.n:
            self.rows.append((args[0] > 0).reshape(self.n, -1))
        return func(*args, **(kwargs or {}))


def codes(probe: Probe, x: Tensor) -> list[Tensor]:
    """The codes of inputs x (N, ...): for each activation that runs, boolean rows (N, units).

    Raises:
        EvaluationError: if no activation runs.
    """
    with torch.no_grad(), _Codes(len(x)) as mode:
        probe.net(x)
    if not mode.rows:
        raise EvaluationError("this proxy looks at activations, and the network runs none (ReLU, SiLU, GELU, ...)")
    rows: list[Tensor] = mode.rows
    return rows
