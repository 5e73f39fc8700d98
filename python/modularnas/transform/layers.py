"""Layers that are one operator, which a trace writes down without running the layer.

From a call of a layer to the operator that a trace sees, torch takes longer than everything else that a trace does: its
functions choose between implementations, and each operator on the way is dispatched to Python. Of the layers that most
networks are made of the operator is known. Only torch's own classes are meant, as torch wrote them and without hooks;
of any other, and of inputs that are not plain, the layer's own forward runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules import module as hooks

from modularnas.transform.dataflow import DataFlow

__all__ = ["run"]

aten = torch.ops.aten

Operator = tuple[Any, tuple[Any, ...]]


def run(flow: DataFlow, module: nn.Module, x: Any) -> Tensor | None:
    """What a layer makes of a fake tensor, with its operator written down; None if its forward has to run."""
    known = _LAYERS.get(type(module))
    if known is None or type(x) is not FakeTensor or not x.is_contiguous() or _observed(module):
        return None
    of_layer, forward = known
    if type(module).forward is not forward or "forward" in module.__dict__:
        return None
    operator = of_layer(module, x)
    if operator is None:
        return None
    out = flow.made(*operator)
    made: Tensor | None = out[0] if isinstance(out, tuple) else out
    return made


def _observed(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or hooks._global_forward_hooks
        or hooks._global_forward_pre_hooks
    )


def _convolution(module: Any, x: Tensor) -> Operator | None:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    own = module._parameters
    sizes = (module.stride, module.padding, module.dilation, False, (0,) * len(module.kernel_size), module.groups)
    return aten.convolution.default, (x, own["weight"], own["bias"], *sizes)


def _batch_norm(*dims: int) -> Callable[[Any, Tensor], Operator | None]:
    def of_layer(module: Any, x: Tensor) -> Operator | None:
        mean, var = module._buffers["running_mean"], module._buffers["running_var"]
        if module.training or x.dim() not in dims or mean is None or var is None or mean.shape != x.shape[1:2]:
            return None
        own = module._parameters
        momentum = 0.0 if module.momentum is None else module.momentum
        given = (x, own["weight"], own["bias"], mean, var)
        return aten.native_batch_norm.default, (*given, False, momentum, module.eps)

    return of_layer


def _activation(plain: Any, in_place: Any, *args: Any) -> Callable[[Any, Tensor], Operator | None]:
    def of_layer(module: Any, x: Tensor) -> Operator | None:
        return in_place if module.inplace else plain, (x, *args)

    return of_layer


_OPERATORS: dict[Any, Callable[[Any, Tensor], Operator | None]] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.BatchNorm1d: _batch_norm(2, 3),
    nn.BatchNorm2d: _batch_norm(4),
    nn.BatchNorm3d: _batch_norm(5),
    nn.ReLU: _activation(aten.relu.default, aten.relu_.default),
    nn.ReLU6: _activation(aten.hardtanh.default, aten.hardtanh_.default, 0.0, 6.0),
    nn.SiLU: _activation(aten.silu.default, aten.silu_.default),
    nn.Hardswish: _activation(aten.hardswish.default, aten.hardswish_.default),
    nn.Hardsigmoid: _activation(aten.hardsigmoid.default, aten.hardsigmoid_.default),
}
#: And its forward as torch has it.
_LAYERS = {cls: (of_layer, cls.forward) for cls, of_layer in _OPERATORS.items()}
