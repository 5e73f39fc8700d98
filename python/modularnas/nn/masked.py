"""Masked modules: every choice in one shape, so that one compiled graph serves all points.

What a sliced module leaves out is here multiplied by zero: parameters keep their whole size and a mask says which
positions count, kernels keep their largest size with zeros around, a block that is left out runs and is not looked at,
and so do the candidates of a mixed op. Masks are buffers, outside of the `state_dict`; a point brings other tensors of
the same shapes, which a compiled graph takes as inputs. Channels that are left out are zero all the way, so sums over
channels are right by themselves; norms count the channels that stay. Costs the time of the largest network, always.

A batch norm leaves running statistics of what is left out alone. The numbers are those of sliced modules to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from modularnas.nn.elastic import FIRST_SPATIAL, KINDS, MASK, Elastic, _kernel
from modularnas.nn.mixed import MixedOp
from modularnas.nn.skippable import Skippable, _Input

__all__ = ["Masked", "MaskedMixedOp", "MaskedNorm", "MaskedSkippable"]


class Masked(Elastic):
    """An elastic module whose parts that do not stay are zero."""

    @classmethod
    def members(cls, given: type[nn.Module]) -> dict[str, Any]:
        """The forward of a norm that averages over channels."""
        own = next((own for norm, own in FORWARDS.items() if given.forward is norm.forward), None)
        return {} if own is None else {"forward": own}

    def activate(self, codes: Sequence[int]) -> None:
        """Makes the masks those of a point's codes."""
        state = self.__dict__
        device = self.whole(self.cuts[0].name).device if self.cuts else None
        key = (device, *(codes[decision] for decision in self.decisions))
        masks = state["_known"].get(key)
        if masks is None:
            masks = state["_known"][key] = {name: mask.to(device) for name, mask in self.masks_of(codes).items()}
        if not state["_parts"]:
            state["_parts"] = self._names()
            state.update(self._largest())
            for name in masks:
                self.register_buffer(name, None, persistent=False)  # type: ignore[attr-defined]
        self._buffers.update(masks)  # type: ignore[attr-defined]
        # Heads that are left out are masked like other channels; what else is set changes no shape.
        state.update({name: value for name, value in self.set(codes).items() if isinstance(value, float)})

    def attributes(self, codes: Sequence[int]) -> dict[str, Any]:
        """What says the sizes of a point's codes, were it not masked."""
        return self._prepare(codes)[1]

    def _names(self) -> dict[str, list[str]]:
        """The masks of each parameter."""
        names: dict[str, list[str]] = {}
        for cut in self.cuts:
            if not (self.learned_sizes and cut.dim >= FIRST_SPATIAL):
                names.setdefault(cut.name, []).append(f"{MASK}{cut.name}_{cut.dim}")
        return names

    def masks_of(self, codes: Sequence[int]) -> dict[str, Tensor]:
        """The masks of a point's codes by name."""
        masks = {}
        for cut in self.cuts:
            whole = self.whole(cut.name)
            mask = torch.zeros(whole.shape[cut.dim], dtype=torch.bool)
            for start, length in cut.ranges(codes):
                mask[start : start + length] = True
            shape = [1] * whole.dim()
            shape[cut.dim] = -1
            masks[f"{MASK}{cut.name}_{cut.dim}"] = mask.view(shape)
        return masks

    def _largest(self) -> dict[str, Any]:
        """The attributes of a convolution with its largest kernel."""
        if self.paddings is None:
            return {}
        decision, by_code = self.paddings
        cut = next(cut for cut in self.cuts if decision in cut.decisions)
        (_, ranges, _), size = cut.runs[0], list(self.whole("weight").shape[FIRST_SPATIAL:])
        padding = by_code[0]
        if padding is not None:
            dilation: Sequence[int] = self.dilation  # type: ignore[attr-defined]
            margin = [d * (n - ranges[0][1]) // 2 for d, n in zip(dilation, size, strict=True)]
            padding = tuple(p + m for p, m in zip(padding, margin, strict=True))
        return _kernel(self, size, padding)

    def mask(self, name: str) -> Tensor | None:
        """Which positions of a parameter or buffer stay, in a shape that broadcasts to its own; None: all."""
        mask = None
        for of_dim in self.__dict__["_parts"].get(name, ()):
            buffer = self._buffers[of_dim]  # type: ignore[attr-defined]
            mask = buffer if mask is None else mask & buffer
        return mask

    def part(self, name: str) -> Tensor:
        """The parameter or buffer with zeros for what does not stay."""
        whole = self.whole(name)
        if name == "weight" and self.learned_sizes:
            whole = self._of_size(whole)
        mask = self.mask(name)
        return whole if mask is None else torch.where(mask, whole, 0.0)

    def _of_size(self, whole: Tensor) -> Tensor:
        """The kernel of the active size, surrounded by zeros."""
        size = whole.shape[-1]
        cut = max(cut.dim for cut in self.cuts if cut.name == "weight")
        active = self._buffers[f"{MASK}weight_{cut}"].sum()  # type: ignore[attr-defined]
        result = whole
        for step in self.learned_sizes:
            margin = (size - step) // 2
            smaller = nn.functional.pad(self.shrunk(whole, step), [margin] * 2 * (whole.dim() - FIRST_SPATIAL))
            result = torch.where(active == step, smaller, result)
        return result


class MaskedNorm(Masked):
    """A norm whose running statistics stay where a channel is left out, or the whole norm is."""

    @classmethod
    def members(cls, given: type[nn.Module]) -> dict[str, Any]:
        """Statistics that a forward may write into."""

        def part(name: str) -> property:
            return property(lambda self: self.part(name))

        return {name: part(name) for name in STATISTICS}

    def forward(self, input: Tensor) -> Tensor:
        """As the given class's; zero where a channel is left out."""
        kept, present = self.mask("running_mean"), self._buffers.get(PRESENT)  # type: ignore[attr-defined]
        if self.training and self.track_running_stats:  # type: ignore[attr-defined]
            copies = {name: self.whole(name).clone() for name in STATISTICS}
            self.__dict__["_copies"] = copies
            try:
                out: Tensor = super().forward(input)  # type: ignore[misc]
            finally:
                self.__dict__["_copies"] = {}
            with torch.no_grad():
                for name, copy in copies.items():
                    old, mask = self.whole(name), kept if copy.dim() else None
                    mask = present if mask is None else mask if present is None else mask & present
                    old.copy_(copy if mask is None else torch.where(mask, copy, old))
        else:
            out = super().forward(input)  # type: ignore[misc]
        if kept is None or self.affine:  # type: ignore[attr-defined]
            return out
        return torch.where(kept.view(-1, *[1] * (out.dim() - 2)), out, 0.0)

    def say_present(self, present: bool) -> None:
        """Says whether the block or candidate around it is part of the network."""
        device = self.whole("running_mean").device
        self.register_buffer(PRESENT, torch.tensor(present, device=device), persistent=False)  # type: ignore[attr-defined]

    def part(self, name: str) -> Tensor:
        """Statistics whole; their channels that are left out are multiplied by zero."""
        if name in STATISTICS:
            copy: Tensor | None = self.__dict__.get("_copies", {}).get(name)
            return self.whole(name) if copy is None else copy
        return super().part(name)


#: The buffers of a norm with running statistics.
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

#: Of a norm inside of a block or candidate: whether that is part of the network.
PRESENT = f"{MASK}present"


def _group_norm(self: Any, input: Tensor) -> Tensor:
    """Means over the channels that stay of each group, `(N, C, *)`."""
    mask = self.mask("weight")
    if mask is None:
        return nn.functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
    x = input.unflatten(1, (self.num_groups, -1)).flatten(3)  # (N, G, C/G, L)
    x = x.unsqueeze(3) if x.dim() == 3 else x
    return _normed(self, x, mask.view(1, self.num_groups, -1, 1), (2, 3), input, (1, -1, *[1] * (input.dim() - 2)))


def _layer_norm(self: Any, input: Tensor) -> Tensor:
    """Means over the features that stay."""
    mask = self.mask("weight")
    if mask is None:
        return nn.functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)
    return _normed(self, input, mask, tuple(range(-self.whole("weight").dim(), 0)), input, self.weight.shape)


def _rms_norm(self: Any, input: Tensor) -> Tensor:
    """The root mean square of the features that stay."""
    mask = self.mask("weight")
    if mask is None:
        return nn.functional.rms_norm(input, self.normalized_shape, self.weight, self.eps)
    eps = torch.finfo(input.dtype).eps if self.eps is None else self.eps
    dims = tuple(range(-self.whole("weight").dim(), 0))
    mask = mask.expand(self.whole("weight").shape)
    square = torch.where(mask, input, 0.0).square().sum(dims, keepdim=True) / mask.sum()
    out: Tensor = input * torch.rsqrt(square + eps) * self.weight
    return out


def _normed(self: Any, x: Tensor, mask: Tensor, dims: tuple[int, ...], like: Tensor, shape: Sequence[int]) -> Tensor:
    mask = mask.expand([max(a, b) for a, b in zip(mask.shape, x.shape[-mask.dim() :], strict=True)])
    x = torch.where(mask, x, 0.0)
    count = mask.expand(x.shape).sum(dims, keepdim=True)
    mean = x.sum(dims, keepdim=True) / count
    centred = torch.where(mask, x - mean, 0.0)
    variance = centred.square().sum(dims, keepdim=True) / count
    out = (centred * torch.rsqrt(variance + self.eps)).view_as(like)
    out = out * self.weight.view(shape)
    result: Tensor = out if self.bias is None else out + self.bias.view(shape)
    return result


#: Forwards of norms that average over channels.
FORWARDS: dict[type[nn.Module], Any] = {
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
}

KINDS["masked"] = (Masked, MaskedNorm)


class MaskedMixedOp(MixedOp):
    """A mixed op all of whose candidates run; one is looked at."""

    def __init__(self, names: Sequence[str], candidates: Sequence[nn.Module]) -> None:
        super().__init__(names, candidates)
        self.activate(0)

    def activate(self, code: int) -> None:
        """Makes the candidate with this code the one that is looked at."""
        super().activate(code)
        device = next((t.device for t in (*self.parameters(), *self.buffers())), None)
        chosen = torch.zeros(len(self.names), dtype=torch.bool, device=device)
        chosen[code] = True
        self.register_buffer(f"{MASK}chosen", chosen, persistent=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the active candidate returns."""
        chosen = self._buffers[f"{MASK}chosen"]
        assert chosen is not None
        first, *others = (candidate(*args, **kwargs) for candidate in self.candidates)
        for i, other in enumerate(others, 1):
            first = tree_map(lambda a, b, i=i: torch.where(chosen[i], b, a) if _is(a) else a, first, other)
        return first


class MaskedSkippable(Skippable):
    """A block that always runs, and is not looked at where it is left out."""

    def __init__(self, block: nn.Module, output: Any) -> None:
        super().__init__(block, output)
        self.activate(True)

    def activate(self, present: bool) -> None:
        """Says whether the block is part of the network."""
        super().activate(present)
        device = next((t.device for t in (*self.parameters(), *self.buffers())), None)
        self.register_buffer(PRESENT, torch.tensor(present, device=device), persistent=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the block returns, or its first input in the same form."""
        present = self._buffers[PRESENT]
        assert present is not None
        out = self.block(*args, **kwargs)
        given = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))

        def pick(leaf: Any, made: Any) -> Any:
            return torch.where(present, made, given) if isinstance(leaf, _Input) else leaf

        return tree_map(pick, self._output, out)


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)
