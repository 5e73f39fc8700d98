"""More channels, the same function (Net2WiderNet; Chen, Goodfellow and Shlens 2015, arXiv 1511.05641, section 2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from modularnas import _core
from modularnas.errors import NetworkError
from modularnas.transform.duplicate import without_collection
from modularnas.transform.state.tensors import check_same, plain, replaced, tensors
from modularnas.transform.trace import Example, call_arguments, trace

__all__ = ["widen"]


@without_collection()
def widen(
    model: nn.Module,
    layers: str | Mapping[str, int] | Sequence[str] | None = None,
    size: int | None = None,
    *,
    ratio: float | None = None,
    example: Example,
    noise: float = 0.0,
    seed: int = 0,
    verify: bool = True,
) -> nn.Module:
    """A copy of a model in which layers make more channels; it computes the same.

    New channels are copies of old ones, and what reads a channel divides its weights among the copies. Everything that
    is coupled with a layer follows: residual sums, batch norms, depthwise convolutions, concatenations. Several layers
    are widened in one pass.

    Args:
        model: any module that runs on `example`.
        layers: the path of a layer, such as a convolution, with `size`; or a size by path; or with `ratio` a path or
            several. None: every layer whose width can vary, by the `ratio`.
        size: how many channels the one layer is to make (`out_channels`, `out_features`).
        ratio: how many times as many channels each layer is to make, rounded.
        example: an input: a tensor, a tuple of arguments or a dict of keyword arguments.
        noise: how unequally copies share what reads them (the standard deviation of the logarithm of a share), so that
            they learn different things; the function is kept at any noise.
        seed: of the copies and shares.
        verify: whether both models run on the example, so that one that computes something else is an error.

    Raises:
        NetworkError: if a layer cannot be widened; says why.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
        >>> x = torch.randn(2, 3, 8, 8)
        >>> wide = mn.transform.widen(net, "0", 12, example=x)
        >>> wide[0].out_channels, wide[1].num_features, torch.allclose(wide(x), net(x), atol=1e-5)
        (12, 12, True)
        >>> mn.transform.widen(net, ratio=1.5, example=x)[0].out_channels
        12
    """
    wanted = _wanted(layers, size, ratio)
    args, kwargs = call_arguments(example)
    network = trace(plain(model), args, kwargs).network
    changed = _core.widen_channels(network, wanted, ratio or 1.0, tensors(model), noise, seed)
    wide = replaced(model, changed)
    if verify:
        what = f"'{layers}' cannot be {size} wide" if size is not None else "the layers cannot be so wide together"
        check_same(model, wide, args, kwargs, what)
    return wide


def _wanted(
    layers: str | Mapping[str, int] | Sequence[str] | None, size: int | None, ratio: float | None
) -> list[tuple[str, int | None]] | None:
    """The layers and their sizes, None where the ratio says it; None for every layer."""
    if isinstance(layers, Mapping):
        if size is None and ratio is None:
            return list(layers.items())
    elif (size is None) != (ratio is None):
        if isinstance(layers, str):
            return [(layers, size)]
        if size is None:
            return None if layers is None else [(path, None) for path in layers]
    given = f"layers={layers!r}, size={size!r}, ratio={ratio!r}"
    raise NetworkError(f"widen is given {given}; expected one path with a size, sizes by path, or a ratio")
