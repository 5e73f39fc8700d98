"""Connections past a module: put in where they change nothing, taken out where that changes nothing.

Elsken, Metzen and Hutter 2017, "Simple and Efficient Architecture Search for Convolutional Neural Networks", arXiv
1711.04528, section 3, network morphism type IV.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from modularnas import _core
from modularnas.errors import NetworkError
from modularnas.nn import Skip
from modularnas.transform.state.tensors import check_same, readable
from modularnas.transform.trace import Example, call_arguments

__all__ = ["insert_skip", "remove_skip"]


def insert_skip(model: nn.Module, path: str, *, example: Example) -> nn.Module:
    """A copy of a model with a connection past a module; it computes the same until the share is trained.

    Args:
        model: any module that runs on `example`.
        path: a module that takes one tensor and returns one of the same shape.
        example: an input: a tensor, a tuple of arguments or a dict of keyword arguments.

    Raises:
        NetworkError: if the module's output has another shape than its input.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
        >>> x = torch.randn(2, 3, 8, 8)
        >>> skipped = mn.transform.insert_skip(net, "0", example=x)
        >>> torch.equal(skipped(x), net(x)), skipped[0].share.item()
        (True, 1.0)
    """
    args, kwargs = call_arguments(example)
    made, traced = readable(model, args, kwargs)
    calls = traced.calls.get(path)
    if not calls:
        raise NetworkError(f"the model has no module '{path}' that runs on the example; give the path of one")
    for call in calls:
        given = call.args[0] if len(call.args) == 1 and not call.kwargs else None
        if getattr(given, "shape", None) != getattr(call.output, "shape", ()):
            raise NetworkError(f"'{path}' does not return one tensor of its input's shape; no skip fits around it")
    module = made.get_submodule(path)
    skip = Skip(module).to(next((p for p in module.parameters()), torch.empty(0)))
    skip.train(module.training)
    made = _put(made, module, skip)
    check_same(model, made, args, kwargs, f"no skip fits around '{path}'")
    return made


def remove_skip(model: nn.Module, path: str, *, example: Example) -> nn.Module:
    """A copy of a model without a connection that `insert_skip` made; it computes the same.

    Where the share is not 1 any more, the connection is added to the kernel that it passes: that of a convolution that
    keeps the shape, or of a linear layer.

    Args:
        model: any module that runs on `example`.
        path: the skip.
        example: an input: a tensor, a tuple of arguments or a dict of keyword arguments.

    Raises:
        NetworkError: if there is none, or it passes something with no kernel to take it up.
    """
    args, kwargs = call_arguments(example)
    made, _ = readable(model, args, kwargs)
    skip = dict(made.named_modules()).get(path)
    if not isinstance(skip, Skip):
        raise NetworkError(f"'{path}' is no skip of mn.transform.insert_skip")
    share = skip.share.detach()
    block: Any = skip.block
    if share != 1:
        convolution = isinstance(block, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and block.groups == 1
        if not (convolution or isinstance(block, nn.Linear)):
            raise NetworkError(
                f"the skip '{path}' has the share {share.item():.3g} and passes a {type(block).__name__}, which has no "
                "kernel to take it up; only a convolution without groups and a linear layer have"
            )
        zeros = torch.zeros(block.weight.shape[0], dtype=share.dtype, device=share.device)
        identity, _, _ = _core.identity_layer(list(block.weight.shape[2:]), zeros, zeros, 1.0)
        with torch.no_grad():
            block.weight.copy_(share * block.weight + (1 - share) * identity)
            if block.bias is not None:
                block.bias.mul_(share)
    made = _put(made, skip, block)
    check_same(model, made, args, kwargs, f"the skip '{path}' cannot be taken out")
    return made


def _put(model: nn.Module, given: nn.Module, replacement: nn.Module) -> nn.Module:
    if given is model:
        return replacement
    for parent in [module for module in model.modules() if module is not replacement]:
        parent._modules.update({name: replacement for name, child in parent._modules.items() if child is given})
    return model
