"""Channels in the order of their importance (Cai et al. 2020, Once-for-All, arXiv 1908.09791, section 3.3)."""

from __future__ import annotations

from torch import nn

from modularnas import _core
from modularnas.transform.state.tensors import check_same, plain, replaced, tensors
from modularnas.transform.trace import Example, call_arguments, trace

__all__ = ["sort_channels"]


def sort_channels(model: nn.Module, *, example: Example) -> nn.Module:
    """A copy of a trained model with its channels sorted by the L1 norm of the weights that read them.

    It computes the same. Elastic widths keep the first channels, so a model that is sorted before `mn.rewrite` starts
    with small networks made of what matters most; a supernet is sorted by `supernet.sort_channels()`.

    Args:
        model: any module that runs on `example`.
        example: an input: a tensor, a tuple of arguments or a dict of keyword arguments.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> ordered = mn.transform.sort_channels(net, example=torch.randn(2, 4))
        >>> norms = ordered[2].weight.abs().sum(0)
        >>> bool((norms[:-1] >= norms[1:]).all())
        True
    """
    args, kwargs = call_arguments(example)
    network = trace(plain(model), args, kwargs).network
    ordered = replaced(model, _core.sort_channels(network, tensors(model)))
    check_same(model, ordered, args, kwargs, "channels cannot be sorted")
    return ordered
