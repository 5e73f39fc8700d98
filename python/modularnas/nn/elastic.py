"""Elastic modules: modules whose parameters are slices of larger ones.

Any module becomes elastic by changing its class in place to a subclass of its own: every parameter and buffer that is
cut becomes a property that gives the part that stays, as a view where that is one range of each dimension. So the
user's forward runs unchanged on whatever size is active, and parameters keep their names and identity. Ordinary
attributes that say a size (`in_channels`, `kernel_size`, `normalized_shape`) follow. The same slices exist as a Rust
weight map; the law of weight sharing holds them together.

Slimmable networks (Yu et al. 2018, arXiv 1812.08928) and Once-for-All (Cai et al. 2020, arXiv 1908.09791, section 3.3)
write such layers by hand, one class for each kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["Cut", "Elastic", "elastic", "restore"]

Range = tuple[int, int]


class Cut:
    """What stays of one dimension of a parameter.

    Args:
        name: the parameter's name in its module.
        dim: the dimension.
        runs: successive positions: (decision or None, ranges (start, length) by code, the range while inactive).
    """

    def __init__(self, name: str, dim: int, runs: Sequence[tuple[int | None, Sequence[Range], Range]]) -> None:
        self.name = name
        self.dim = dim
        self.runs = tuple(runs)
        self.decisions = tuple(dict.fromkeys(decision for decision, _, _ in runs if decision is not None))

    def ranges(self, codes: Sequence[int]) -> list[Range]:
        """The maximal ranges that stay for the codes of a point."""
        ranges: list[Range] = []
        for decision, by_code, inactive in self.runs:
            code = -1 if decision is None else codes[decision]
            start, length = by_code[code] if code >= 0 else inactive
            if not length:
                continue
            if ranges and sum(ranges[-1]) == start:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + length)
            else:
                ranges.append((start, length))
        return ranges


class Elastic:
    """What every elastic module has; mixed into a subclass of the module's own class.

    Attributes:
        given_class: the class that the module had.
        cuts: what is cut of which parameter.
        decisions: the decisions that they depend on.
    """

    given_class: type[nn.Module]
    cuts: tuple[Cut, ...]
    decisions: tuple[int, ...]
    paddings: tuple[int, Sequence[tuple[int, ...] | None]] | None

    def activate(self, codes: Sequence[int]) -> None:
        """Makes the sizes of a point's codes the ones that are used."""
        state = self.__dict__
        key = tuple(codes[decision] for decision in self.decisions)
        known = state["_known"].get(key)
        if known is None:
            known = state["_known"][key] = self._prepare(codes)
        state["_parts"], attributes = known
        state.update(attributes)

    def _prepare(self, codes: Sequence[int]) -> tuple[dict[str, list[tuple[int, Range | Tensor]]], dict[str, Any]]:
        """What stays of each parameter, and the attributes that go with it."""
        parts: dict[str, list[tuple[int, Range | Tensor]]] = {}
        sizes: dict[str, list[int]] = {}
        for cut in self.cuts:
            whole = self.whole(cut.name)
            size = sizes.setdefault(cut.name, list(whole.shape))
            ranges = cut.ranges(codes)
            size[cut.dim] = sum(length for _, length in ranges)
            if ranges == [(0, whole.shape[cut.dim])]:
                continue
            index: Range | Tensor
            if len(ranges) == 1:
                index = ranges[0]
            else:
                index = torch.cat([torch.arange(start, start + length) for start, length in ranges]).to(whole.device)
            parts.setdefault(cut.name, []).append((cut.dim, index))
        return parts, _attributes(self, sizes, codes)

    def whole(self, name: str) -> Tensor:
        """A parameter or buffer with everything that is shared."""
        tensor = self._parameters.get(name)  # type: ignore[attr-defined]
        return self._buffers[name] if tensor is None else tensor  # type: ignore[attr-defined, no-any-return]

    def part(self, name: str) -> Tensor:
        """What stays of a parameter or buffer; a view where that is one range of each dimension."""
        tensor = self.whole(name)
        for dim, index in self.__dict__["_parts"].get(name, ()):
            if isinstance(index, tuple):
                tensor = tensor.narrow(dim, *index)
            else:
                tensor = tensor.index_select(dim, index.to(tensor.device))
        mask = self.__dict__["_masks"].get(name)
        return tensor if mask is None else tensor * mask

    def weigh(self, name: str, mask: Tensor | None) -> None:
        """Multiplies what stays of a parameter with a mask that fits it, until None takes the mask away."""
        masks: dict[str, Tensor] = {**self.__dict__["_masks"]}
        masks.pop(name, None)
        self.__dict__["_masks"] = masks if mask is None else {**masks, name: mask}

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A mask belongs to one forward, and tensors within a graph cannot be copied.
        state = {name: value for name, value in self.__dict__.items() if name not in ("_known", "_masks")}
        return _rebuild, (self.given_class, tuple(dict.fromkeys(cut.name for cut in self.cuts))), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.update(_known={}, _masks={})


class _ElasticNorm(Elastic):
    """A norm with running statistics: what it writes into a copy of scattered channels is written back."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the given class's."""
        scattered = {
            name: parts[0]
            for name, parts in self.__dict__["_parts"].items()
            if name in self._buffers and isinstance(parts[0][1], Tensor)  # type: ignore[attr-defined]
        }
        if not scattered or not self.training:  # type: ignore[attr-defined]
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        copies = {name: self.part(name) for name in scattered}
        self.__dict__["_copies"] = copies
        try:
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        finally:
            self.__dict__["_copies"] = {}
            with torch.no_grad():
                for name, (dim, index) in scattered.items():
                    self.whole(name).index_copy_(dim, index.to(copies[name].device), copies[name])

    def part(self, name: str) -> Tensor:
        copy = self.__dict__.get("_copies", {}).get(name)
        return super().part(name) if copy is None else copy


#: The elastic classes made so far, by the given class and the names of what is cut.
_CLASSES: dict[tuple[Any, tuple[str, ...]], Any] = {}


def _class(given: type[nn.Module], names: tuple[str, ...]) -> Any:
    if (given, names) in _CLASSES:
        return _CLASSES[given, names]

    def part(name: str) -> property:
        return property(lambda self: self.part(name))

    base = _ElasticNorm if issubclass(given, _NormBase) else Elastic
    members: dict[str, Any] = {name: part(name) for name in names}
    members.update(given_class=given, __module__=given.__module__)
    made = _CLASSES[given, names] = type(f"Elastic{given.__name__}", (base, given), members)
    return made


def _rebuild(given: type[nn.Module], names: tuple[str, ...]) -> nn.Module:
    return given.__new__(_class(given, names))  # type: ignore[no-any-return]


def elastic(
    module: nn.Module, cuts: Sequence[Cut], paddings: tuple[int, Sequence[tuple[int, ...] | None]] | None = None
) -> Elastic:
    """Makes a module elastic in place and returns it.

    Args:
        module: any module; its parameters are already as large as the largest size.
        cuts: what is cut.
        paddings: of a convolution of elastic kernel size, the decision and the padding at each code.
    """
    assert not isinstance(module, Elastic)
    module.__class__ = _class(type(module), tuple(dict.fromkeys(cut.name for cut in cuts)))
    decisions = tuple(dict.fromkeys(decision for cut in cuts for decision in cut.decisions))
    given = {name: module.__dict__[name] for name in _ATTRIBUTES if name in module.__dict__}
    state = {"cuts": tuple(cuts), "decisions": decisions, "paddings": paddings, "_given": given}
    module.__dict__.update(state, _known={}, _parts={}, _masks={})
    assert isinstance(module, Elastic)
    return module


def restore(module: nn.Module) -> None:
    """Gives an elastic module its own class back; its parameters are those it has, its attributes those last active."""
    assert isinstance(module, Elastic)
    given = module.given_class
    for name in ("cuts", "decisions", "paddings", "_given", "_known", "_parts", "_masks", "_copies"):
        module.__dict__.pop(name, None)
    module.__class__ = given  # type: ignore[assignment]  # mypy knows no change of class


#: Attributes of torch's modules that say a size of theirs.
_ATTRIBUTES = (
    "in_channels out_channels groups kernel_size padding _reversed_padding_repeated_twice in_features out_features "
    "num_features num_channels normalized_shape embedding_dim num_parameters"
).split()


def _attributes(module: Any, sizes: dict[str, list[int]], codes: Sequence[int]) -> dict[str, Any]:
    """The attributes that go with the sizes of the parameters."""
    given = module.__dict__["_given"]
    changed: dict[str, Any] = {}
    weight = sizes.get("weight")
    if isinstance(module, nn.modules.conv._ConvNd) and weight is not None:
        groups = given["groups"]
        inner = weight[1]
        if module.transposed:
            grouped = groups > 1
            changed["groups"] = weight[0] if grouped else 1
            changed["in_channels"], changed["out_channels"] = weight[0], weight[1] * changed["groups"]
        else:
            if groups > 1 and given["in_channels"] == groups:  # depthwise: one group a channel
                groups = weight[0] * groups // given["out_channels"]
            changed.update(groups=groups, in_channels=inner * groups, out_channels=weight[0])
        paddings: Any = module.__dict__["paddings"]
        if paddings is not None:
            decision, by_code = paddings
            code = codes[decision]
            if code >= 0:
                changed.update(_kernel(module, weight[2:], by_code[code]))
    elif isinstance(module, nn.Linear) and weight is not None:
        changed.update(out_features=weight[0], in_features=weight[1])
    elif isinstance(module, nn.Embedding) and weight is not None:
        changed["embedding_dim"] = weight[1]
    elif isinstance(module, nn.PReLU) and weight is not None:
        changed["num_parameters"] = weight[0]
    elif isinstance(module, _NormBase):
        changed["num_features"] = next(iter(sizes.values()))[0]
    elif isinstance(module, nn.GroupNorm) and weight is not None:
        changed["num_channels"] = weight[0]
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and weight is not None:
        changed["normalized_shape"] = tuple(weight)
    return changed


def _kernel(conv: Any, size: Sequence[int], padding: tuple[int, ...] | None) -> dict[str, Any]:
    """Kernel size and padding; None as padding is `padding="same"`."""
    if padding is not None:
        twice = [n for n in reversed(padding) for _ in range(2)]
        return {"kernel_size": tuple(size), "padding": padding, "_reversed_padding_repeated_twice": twice}
    total = [d * (k - 1) for d, k in zip(reversed(conv.dilation), reversed(size), strict=True)]
    twice = [part for n in total for part in (n // 2, n - n // 2)]
    return {"kernel_size": tuple(size), "_reversed_padding_repeated_twice": twice}
