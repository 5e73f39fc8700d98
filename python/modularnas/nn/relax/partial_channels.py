"""Partial channels with edge normalisation: PC-DARTS.

Xu et al. 2019, "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", arXiv 1907.05737: only
the first 1 / share of the channels goes through the softmax sum (equation 3), the others pass by (halved by a maximum
pool where the edge halves), and channels are shuffled so that the next edge takes others. Where a node takes several
edges, each is weighed by the softmax of parameters of its own (equation 4).

In their code the candidates are built with a share of the channels and the found network starts anew. Here they are
the whole candidates, of which the first channels run while the supernet is relaxed: so any point can still be activated
or derived, with the weights that the share has trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from modularnas.nn.elastic import Cut, Elastic, elastic, restore
from modularnas.nn.relax.softmax import Softmax

__all__ = ["PartialChannels", "pass_by", "shrink", "unshrink"]


class PartialChannels(Softmax):
    """The softmax sum of a share of the channels; the others pass by.

    Args:
        temperature: divides alpha.
        share: one channel in so many goes through the candidates; their channels must be multiples of it.
        edges: whether the edges of a node are weighed by parameters of their own.
    """

    name = "partial_channels"

    def __init__(self, temperature: float = 1.0, share: int = 4, edges: bool = True) -> None:
        super().__init__(temperature)
        if not isinstance(share, int) or share < 1:
            raise ValueError(f"share is {share!r}; expected an integer of 1 or more")
        self.share = share
        self.edges = edges


def shrink(candidate: nn.Module, share: int) -> list[nn.Module]:
    """Makes a candidate work on the first 1 / share of its channels, in place; returns the modules that changed.

    Raises:
        ValueError: if it has parameters of other layers than convolutions and batch norms, or channels that cannot be
            divided.
    """
    cuts: list[tuple[nn.Module, list[Cut]]] = []
    for path, module in candidate.named_modules():
        if not any(True for _ in module.parameters(recurse=False)) and not isinstance(module, _BatchNorm):
            continue
        if isinstance(module, Elastic) or not isinstance(module, (_ConvNd, _BatchNorm)):
            raise ValueError(f"its layer '{path}' ({type(module).__name__}) is no plain convolution or batch norm")
        depthwise = isinstance(module, _ConvNd) and module.groups == module.in_channels == module.out_channels
        if isinstance(module, _ConvNd) and module.groups > 1 and not depthwise:
            raise ValueError(f"its layer '{path}' has {module.groups} groups")
        tensors: dict[str, Any] = {**module._parameters, **module._buffers}
        of_module = []
        for name, tensor in tensors.items():
            if tensor is None or not tensor.dim():
                continue
            for dim in (0, 1) if tensor.dim() > 1 and not depthwise else (0,):
                size = tensor.shape[dim]
                if size % share:
                    raise ValueError(f"its layer '{path}' has {size} channels, no multiple of {share}")
                whole, part = (0, size), (0, size // share)
                of_module.append(Cut(name, dim, [(0, (whole, part), whole)]))
        if of_module:
            cuts.append((module, of_module))
        elif isinstance(module, _BatchNorm) and module.num_features % share:
            raise ValueError(f"its layer '{path}' has {module.num_features} channels, no multiple of {share}")
    for module, of_module in cuts:
        elastic(module, of_module).activate([1])
    return [module for module, _ in cuts]


def unshrink(modules: Sequence[nn.Module]) -> None:
    """Undoes `shrink`."""
    for module in modules:
        assert isinstance(module, Elastic)
        module.activate([0])
        restore(module)


def pass_by(mixed: Tensor, rest: Tensor, share: int) -> Tensor:
    """Joins what went through the candidates and what passes by, shuffled: `(N, C / share, …)` and the other channels.

    Raises:
        ValueError: if the candidates change the spatial size by other than halving it.
    """
    if mixed.shape[2:] != rest.shape[2:]:
        pool = {3: functional.max_pool1d, 4: functional.max_pool2d, 5: functional.max_pool3d}[rest.dim()]
        rest = pool(rest, 2, 2, ceil_mode=True)
    joined = torch.cat([mixed, rest], dim=1)
    shuffled: Tensor = joined.unflatten(1, (share, -1)).transpose(1, 2).flatten(1, 2)
    return shuffled
