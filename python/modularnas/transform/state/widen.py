"""More channels, the same function (Net2WiderNet; Chen, Goodfellow and Shlens 2015, arXiv 1511.05641, section 2.2)."""

from __future__ import annotations

from torch import nn

from modularnas import _core
from modularnas.transform.state.tensors import check_same, put, readable, tensors
from modularnas.transform.trace import Example, call_arguments

__all__ = ["widen"]


def widen(model: nn.Module, path: str, size: int, *, example: Example, noise: float = 0.0, seed: int = 0) -> nn.Module:
    """A copy of a model in which a layer makes more channels; it computes the same.

    New channels are copies of old ones, and what reads a channel divides its weights among the copies. Everything that
    is coupled with the layer follows: residual sums, batch norms, depthwise convolutions, concatenations.

    Args:
        model: any module that runs on `example`.
        path: the layer, such as a convolution.
        size: how many channels it is to make (`out_channels`, `out_features`).
        example: an input: a tensor, a tuple of arguments or a dict of keyword arguments.
        noise: how unequally copies share what reads them (the standard deviation of the logarithm of a share), so that
            they learn different things; the function is kept at any noise.
        seed: of the copies and shares.

    Raises:
        NetworkError: if the layer cannot be widened; says why.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
        >>> x = torch.randn(2, 3, 8, 8)
        >>> wide = mn.transform.widen(net, "0", 12, example=x)
        >>> wide[0].out_channels, wide[1].num_features, torch.allclose(wide(x), net(x), atol=1e-5)
        (12, 12, True)
    """
    args, kwargs = call_arguments(example)
    wide, traced = readable(model, args, kwargs)
    put(wide, _core.widen_channels(traced.network, path, size, tensors(wide), noise, seed))
    check_same(model, wide, args, kwargs, f"'{path}' cannot be {size} wide")
    return wide
