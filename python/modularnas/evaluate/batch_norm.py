"""Batch normalisation of a sub-network: whose statistics does it use?

The running statistics of a supernet mix those of all paths that were trained, so with them a sub-network is scored
wrongly (Yu and Huang 2019, "Universally Slimmable Networks", arXiv 1903.05134, section 3.1; Guo et al. 2019, SPOS,
arXiv 1904.00420, section 3.4). The policy is the user's and never silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map_only

from modularnas.errors import EvaluationError
from modularnas.evaluate.prefixes import Prefixes

__all__ = ["POLICIES", "recalibrate", "use_batch_statistics"]

POLICIES = ("recalibrate", "batch", "private", "none")


def _norms(net: nn.Module) -> list[_BatchNorm]:
    return [module for module in net.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


def recalibrate(
    net: nn.Module | Sequence[nn.Module],
    batches: Iterable[Any],
    n_batches: int | None = None,
    *,
    prefix_bytes: int = 0,
) -> int:
    """Replaces the running statistics of every batch norm by their average over batches; returns how many were seen.

    Only batch norms run in train mode meanwhile, and no gradients are recorded.

    Args:
        net: the network; its running statistics change. Or several networks, which share one pass over the batches:
            these are loaded and augmented once for all.
        batches: inputs, or (input, target) pairs as a data loader gives them.
        n_batches: how many to use at most; None: all.
        prefix_bytes: memory for what networks with the same weights have in common at their front, which is then
            computed once a batch; 0: each is computed whole. The statistics are the same.

    Raises:
        EvaluationError: if there is no batch.
    """
    nets = [net] if isinstance(net, nn.Module) else list(net)
    norms = [norm for net in nets for norm in _norms(net)]
    modes = [(module, module.training) for net in nets for module in net.modules()]
    momenta = [norm.momentum for norm in norms]
    seen = 0
    try:
        for net in nets:
            net.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over all batches
            norm.train()
        devices = [next((p.device for p in net.parameters()), None) for net in nets]
        with torch.no_grad():
            for batch in batches:
                if n_batches is not None and seen >= n_batches:
                    break
                prefixes = Prefixes(prefix_bytes, calibrating=True)
                for net, device in zip(nets, devices, strict=True):
                    args, kwargs = _inputs(batch, device)
                    with prefixes.of(net) if prefix_bytes else nullcontext():
                        net(*args, **kwargs)
                seen += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    if seen == 0:
        raise EvaluationError("calibration gives no batch; batch norms cannot be recalibrated, give a non-empty loader")
    return seen


def use_batch_statistics(net: nn.Module) -> None:
    """Makes every batch norm use the statistics of the batch at hand, also in eval mode."""
    for norm in _norms(net):
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def _inputs(batch: Any, device: torch.device | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the network in a batch: a mapping is keywords, of an (input, target) pair the input is taken.

    An input that is a tuple itself is several arguments.
    """
    if isinstance(batch, (tuple, list)):
        batch = batch[0]
    if device is not None:
        batch = tree_map_only(Tensor, lambda tensor: tensor.to(device), batch)
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return (tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)), {}
