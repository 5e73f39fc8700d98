"""New random weights in a part of a model."""

from __future__ import annotations

from fnmatch import fnmatchcase

import torch
from torch import nn

from modularnas.errors import NetworkError

__all__ = ["reinitialise"]


def reinitialise(model: nn.Module, where: str = "*", *, seed: int = 0) -> list[str]:
    """Draws the weights of a model anew, in place, as its layers' own `reset_parameters` do; returns their paths.

    The same seed gives the same weights, and torch's generator is left as it was.

    Args:
        model: any module, a supernet too.
        where: a pattern of module paths, such as `"layer4.*"`.
        seed: of the weights.

    Raises:
        NetworkError: if a module in the pattern has parameters and no `reset_parameters`, or none is in it.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> mn.transform.reinitialise(net, "2", seed=1)
        ['2']
    """
    chosen = [
        (path, m)
        for path, m in model.named_modules()
        if fnmatchcase(path, where) and any(p is not None for p in m._parameters.values())
    ]
    without = [path for path, module in chosen if not callable(getattr(module, "reset_parameters", None))]
    if without:
        raise NetworkError(f"'{without[0]}' has parameters and no reset_parameters(); leave it out of where={where!r}")
    if not chosen:
        raise NetworkError(f"where={where!r} matches no module with parameters; give a pattern of module paths")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _, module in chosen:
            module.reset_parameters()
    return [path for path, _ in chosen]
