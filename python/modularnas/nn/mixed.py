"""A mixed op: several candidate modules in one place; one of them active, or several weighed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from modularnas.nn.relax.drop_path import drop_path
from modularnas.nn.relax.partial_channels import pass_by

__all__ = ["MixedOp", "Paths", "mixture"]


class Paths:
    """What runs of a mixed op in one forward of a relaxed supernet, and how much it counts.

    Args:
        weights: one for each candidate of `kept`, differentiable; None: the only path counts as it is.
        kept: the codes of the candidates that have a weight.
        codes: the codes of the candidates that run.
        watched: the codes of candidates of weight 0 that run only to tell the gradient of their weight.

    Attributes:
        scalars: the weights by code; empty if there are none.
    """

    def __init__(
        self, weights: Tensor | None, kept: Sequence[int], codes: Sequence[int], watched: Sequence[int] = ()
    ) -> None:
        self.weights = weights
        self.kept = tuple(kept)
        self.codes = tuple(codes)
        self.watched = tuple(watched)
        self.scalars: dict[int, Tensor] = {}
        if weights is not None:
            self.scalars = dict(zip(self.kept, weights.unbind(), strict=True))


def mixture(paths: Paths, run: Callable[[int], Any]) -> Any:
    """The weighted sum of what the paths return.

    Args:
        paths: which, and how much they count.
        run: calls the candidate of a code.
    """
    weights = paths.scalars
    if not weights:
        return run(paths.codes[0])
    total: Any = None
    for code in paths.codes:
        total = _plus(total, run(code), weights[code])
    if torch.is_grad_enabled():
        for code in paths.watched:
            with torch.no_grad():
                output = run(code)
            total = _plus(total, output, weights[code])
    return total


def _plus(total: Any, output: Any, weight: Tensor) -> Any:
    def weighed(leaf: Any) -> Any:
        return leaf * weight if isinstance(leaf, Tensor) else leaf

    def add(known: Any, more: Any) -> Any:
        return known + more * weight if isinstance(more, Tensor) else known

    return tree_map(weighed, output) if total is None else tree_map(add, total, output)


class Form(Protocol):
    """A way to compute what a mixed op returns."""

    note: str

    def __call__(self, mixed: MixedOp, paths: Paths | None, x: Tensor) -> Tensor | None:
        """The weighted sum, or without paths what the active candidate gives; None if it has no form for the case."""


class MixedOp(nn.Module):
    """Calls the active one of its candidates; while its supernet is relaxed, weighs several of them.

    Args:
        names: the names of the candidates, in the order of their codes.
        candidates: the modules.

    Attributes:
        paths: what runs while the supernet is relaxed; None: the active candidate.
        share: one channel in so many goes through the candidates, the others pass by.
        scale: what the output is multiplied with while the supernet is relaxed (the weight of an edge); None: nothing.
        drop: rates of drop-path by the candidates' names, in train mode while the supernet is relaxed.
        form: a fused form, which may leave a case to the plain one; None: the plain one.
    """

    def __init__(self, names: Sequence[str], candidates: Sequence[nn.Module]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.candidates = nn.ModuleList(candidates)
        self.active = 0
        self.paths: Paths | None = None
        self.share = 1
        self.scale: Tensor | None = None
        self.drop: Mapping[str, float] = {}
        self.form: Form | None = None

    def activate(self, code: int) -> None:
        """Makes the candidate with this code the active one."""
        self.active = code

    @property
    def active_candidate(self) -> nn.Module:
        """The active module."""
        return self.candidates[self.active]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the active candidate returns, or the weighted sum of the paths."""
        if self.paths is None:
            return self.mix(None, *args, **kwargs)
        if self.share == 1:
            output = self.mix(self.paths, *args, **kwargs)
        else:
            x, *more = args
            width = x.shape[1] // self.share
            output = self.mix(self.paths, x[:, :width], *more, **kwargs)
            output = pass_by(output, x[:, width:], self.share)
        return output if self.scale is None else output * self.scale

    def mix(self, paths: Paths | None, *args: Any, **kwargs: Any) -> Any:
        """The weighted sum of the paths, or what the active candidate returns."""
        if self.form is not None and len(args) == 1 and not kwargs and isinstance(args[0], Tensor):
            output = self.form(self, paths, args[0])
            if output is not None:
                return output
        if paths is None:
            return self.candidates[self.active](*args, **kwargs)
        return mixture(paths, lambda code: self.run(code, *args, **kwargs))

    def run(self, code: int, *args: Any, **kwargs: Any) -> Any:
        """What one candidate returns, with drop-path where it has a rate."""
        output = self.candidates[code](*args, **kwargs)
        rate = self.drop.get(self.names[code], 0.0) if self.training else 0.0
        return drop_path(output, rate) if rate else output

    def __getstate__(self) -> dict[str, Any]:
        # The weights belong to one forward, and tensors within a graph cannot be copied.
        return {**self.__dict__, "paths": None, "scale": None}

    def extra_repr(self) -> str:
        """The names and the active one."""
        return f"{', '.join(self.names)}; active={self.names[self.active]}"
