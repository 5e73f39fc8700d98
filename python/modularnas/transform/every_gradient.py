"""A gradient for every parameter, so that `DistributedDataParallel` needs no `find_unused_parameters`.

A path uses a part of the parameters, and the reducer waits for all of them. Outputs are made to depend on every
parameter, by a function that passes on no gradient at all: the reducer's hooks fire, its buckets are reduced, and what
was not used is without a gradient again when the backward ends, as in one process. That all processes take the same
path, which this needs, is what a path as a function of seed and step gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd import Variable
from torch.utils._pytree import tree_flatten, tree_unflatten

__all__ = ["every_gradient"]


def every_gradient(module: nn.Module, output: Any) -> Any:
    """The output, made to depend on every parameter of the module where several processes train it."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return output
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if any(hasattr(parameter, "device_mesh") for parameter in parameters):
        return output  # sharded ones have a reducer of their own
    leaves, structure = tree_flatten(output)
    at = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
    if at:
        passed = _EveryGradient.apply(len(at), *(leaves[i] for i in at), *parameters)  # type: ignore[no-untyped-call]
        for i, leaf in zip(at, passed, strict=True):
            leaves[i] = leaf
    return tree_unflatten(leaves, structure)


class _EveryGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, n_outputs: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.parameters = tensors[n_outputs:]
        return tensors[:n_outputs]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        without = [parameter for parameter in ctx.parameters if parameter.grad is None]
        engine = Variable._execution_engine

        def computed() -> None:
            unused = [parameter for parameter in without if parameter.grad is None]

            def reduced() -> None:
                for parameter in unused:
                    parameter.grad = None

            # Behind the callback by which the reducer ends: it was queued while gradients arrived, and fills in zeros.
            engine.queue_callback(reduced)

        engine.queue_callback(computed)
        return None, *gradients, *(None for _ in ctx.parameters)
