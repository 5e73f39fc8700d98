"""Elastic modules: modules whose parameters are slices of larger ones.

Any module becomes elastic by changing its class in place to a subclass of its own: every parameter and buffer that is
cut becomes a property that gives the part that stays, as a view where that is one range of each dimension. So the
user's forward runs unchanged on whatever size is active, and parameters keep their names and identity. Ordinary
attributes that say a size (`in_channels`, `normalized_shape`) follow, and decisions set others (`kernel_size`). The
same slices exist as a Rust weight map; the law of weight sharing holds them together.

Slimmable networks (Yu et al. 2018, arXiv 1812.08928) and Once-for-All (Cai et al. 2020, arXiv 1908.09791, section 3.3)
write such layers by hand, one class for each kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from modularnas.nn.attention import FewerHeads

__all__ = ["Cut", "Diagonal", "Elastic", "Setting", "elastic", "kernel_setting", "restore"]

Range = tuple[int, int]

#: A decision, and attributes of a module at each of its codes.
Setting = tuple[int, Sequence[dict[str, Any]]]


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


class Diagonal:
    """The kernel of a convolution with several numbers of groups: the blocks on the diagonal of that of the fewest.

    Args:
        name: the parameter's name in its module.
        decision: the decision.
        groups: the number of groups at each code.
        given: the number while the decision is inactive.
    """

    def __init__(self, name: str, decision: int, groups: Sequence[int], given: int) -> None:
        self.name = name
        self.decision = decision
        self.groups = tuple(groups)
        self.given = given
        self.fewest = min(given, *groups)

    def parts(self, codes: Sequence[int]) -> int:
        """Into how many groups each group of the shared kernel is divided."""
        code = codes[self.decision]
        return (self.groups[code] if code >= 0 else self.given) // self.fewest

    def of(self, kernel: Tensor, parts: int) -> Tensor:
        """The blocks: `(outputs, inputs, …)` to `(outputs, inputs / parts, …)`; a view where that is one."""
        if parts == 1:
            return kernel
        outside, inside, *window = kernel.shape
        blocks = kernel.reshape(self.fewest, parts, outside // (self.fewest * parts), parts, inside // parts, *window)
        # (groups, outputs, inputs, …, parts)
        return blocks.diagonal(0, 1, 3).movedim(-1, 1).reshape(outside, inside // parts, *window)


class Elastic:
    """What every elastic module has; mixed into a subclass of the module's own class.

    Attributes:
        given_class: the class that the module had.
        cuts: what is cut of which parameter.
        diagonals: which kernels are divided into blocks, after the cuts.
        settings: what is set besides the sizes of the parameters.
        decisions: the decisions that all these depend on.
    """

    given_class: type[nn.Module]
    cuts: tuple[Cut, ...]
    diagonals: tuple[Diagonal, ...]
    settings: tuple[Setting, ...]
    decisions: tuple[int, ...]

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
        attributes = _attributes(self, sizes)
        for decision, by_code in self.settings:
            if codes[decision] >= 0:
                attributes.update(by_code[codes[decision]])
        for diagonal in self.diagonals:
            attributes["_blocks"] = {**attributes.get("_blocks", {}), diagonal.name: diagonal.parts(codes)}
        return parts, attributes

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
        for diagonal in self.diagonals:
            if diagonal.name == name:
                tensor = diagonal.of(tensor, self.__dict__["_blocks"][name])
        return tensor

    def __reduce_ex__(self, protocol: Any) -> Any:
        state = {name: value for name, value in self.__dict__.items() if name != "_known"}
        return _rebuild, (self.given_class, _names(self.cuts, self.diagonals)), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__["_known"] = {}


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


class _ElasticAttention(Elastic):
    """Torch's attention, which knows no heads that are fewer than its width has room for."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the given class's, with the active heads."""
        if self.num_heads == self.__dict__["_given"]["num_heads"]:  # type: ignore[attr-defined]
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        return FewerHeads.forward(self, *args, **kwargs)  # type: ignore[arg-type]


#: The elastic classes made so far, by the given class and the names of what is cut.
_CLASSES: dict[tuple[Any, tuple[str, ...]], Any] = {}


def _class(given: type[nn.Module], names: tuple[str, ...]) -> Any:
    if (given, names) in _CLASSES:
        return _CLASSES[given, names]

    def part(name: str) -> property:
        return property(lambda self: self.part(name))

    base = _ElasticNorm if issubclass(given, _NormBase) else Elastic
    if issubclass(given, nn.MultiheadAttention):
        base = _ElasticAttention
    members: dict[str, Any] = {name: part(name) for name in names}
    members.update(given_class=given, __module__=given.__module__)
    made = _CLASSES[given, names] = type(f"Elastic{given.__name__}", (base, given), members)
    return made


def _rebuild(given: type[nn.Module], names: tuple[str, ...]) -> nn.Module:
    return given.__new__(_class(given, names))  # type: ignore[no-any-return]


def elastic(
    module: nn.Module, cuts: Sequence[Cut], diagonals: Sequence[Diagonal] = (), settings: Sequence[Setting] = ()
) -> Elastic:
    """Makes a module elastic in place and returns it.

    Args:
        module: any module; its parameters are already as large as the largest size.
        cuts: what is cut.
        diagonals: which kernels are divided into blocks.
        settings: which attributes decisions set.
    """
    assert not isinstance(module, Elastic)
    module.__class__ = _class(type(module), _names(cuts, diagonals))
    decisions = [decision for cut in cuts for decision in cut.decisions]
    decisions += [diagonal.decision for diagonal in diagonals] + [decision for decision, _ in settings]
    names = [*_ATTRIBUTES, *(name for _, by_code in settings for name in by_code[0])]
    given = {name: module.__dict__[name] for name in names if name in module.__dict__}
    state = {"cuts": tuple(cuts), "diagonals": tuple(diagonals), "settings": tuple(settings), "_given": given}
    blocks = {diagonal.name: diagonal.given // diagonal.fewest for diagonal in diagonals}
    module.__dict__.update(state, decisions=tuple(dict.fromkeys(decisions)), _known={}, _parts={}, _blocks=blocks)
    assert isinstance(module, Elastic)
    return module


def _names(cuts: Sequence[Cut], diagonals: Sequence[Diagonal]) -> tuple[str, ...]:
    """The parameters and buffers of which a part may stay."""
    return tuple(dict.fromkeys([*(cut.name for cut in cuts), *(diagonal.name for diagonal in diagonals)]))


def restore(module: nn.Module) -> None:
    """Gives an elastic module its own class back; its parameters are those it has, its attributes those last active."""
    assert isinstance(module, Elastic)
    given: type[nn.Module] = module.given_class
    if given is nn.MultiheadAttention and module.__dict__["num_heads"] != module.__dict__["_given"]["num_heads"]:
        given = FewerHeads
    for name in ("cuts", "diagonals", "settings", "decisions", "_given", "_known", "_parts", "_blocks", "_copies"):
        module.__dict__.pop(name, None)
    module.__class__ = given  # type: ignore[assignment]  # mypy knows no change of class


#: Attributes of torch's modules that say a size of theirs.
_ATTRIBUTES = (
    "in_channels out_channels groups kernel_size padding _reversed_padding_repeated_twice in_features out_features "
    "num_features num_channels normalized_shape embedding_dim num_parameters nx nf"
).split()


def _attributes(module: Any, sizes: dict[str, list[int]]) -> dict[str, Any]:
    """The attributes that go with the sizes of the parameters."""
    given = module.__dict__["_given"]
    changed: dict[str, Any] = {}
    weight = sizes.get("weight")
    if isinstance(module, nn.modules.conv._ConvNd) and weight is not None:
        groups = min([given["groups"], *(diagonal.fewest for diagonal in module.__dict__["diagonals"])])
        inner = weight[1]
        if module.transposed:
            grouped = groups > 1
            changed["groups"] = weight[0] if grouped else 1
            changed["in_channels"], changed["out_channels"] = weight[0], weight[1] * changed["groups"]
        else:
            if groups > 1 and given["in_channels"] == groups:  # depthwise: one group a channel
                groups = weight[0] * groups // given["out_channels"]
            changed.update(groups=groups, in_channels=inner * groups, out_channels=weight[0])
    elif isinstance(module, nn.Linear) and weight is not None:
        changed.update(out_features=weight[0], in_features=weight[1])
    elif isinstance(module, nn.Embedding) and weight is not None:
        changed["embedding_dim"] = weight[1]
    elif "nf" in given and weight is not None:  # the Conv1D of transformers, a linear layer with its weight transposed
        changed.update(nx=weight[0], nf=weight[1])
    elif isinstance(module, nn.PReLU) and weight is not None:
        changed["num_parameters"] = weight[0]
    elif isinstance(module, _NormBase) and sizes:
        changed["num_features"] = next(iter(sizes.values()))[0]
    elif isinstance(module, nn.GroupNorm) and weight is not None:
        changed["num_channels"] = weight[0]
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and weight is not None:
        changed["normalized_shape"] = tuple(weight)
    return changed


def kernel_setting(conv: Any, size: int, padding: Sequence[int] | None) -> dict[str, Any]:
    """The attributes of a convolution with a square kernel; None as padding is `padding="same"`."""
    sizes = (size,) * len(conv.kernel_size)
    if padding is not None:
        twice = [n for n in reversed(padding) for _ in range(2)]
        return {"kernel_size": sizes, "padding": tuple(padding), "_reversed_padding_repeated_twice": twice}
    total = [d * (size - 1) for d in reversed(conv.dilation)]
    twice = [part for n in total for part in (n // 2, n - n // 2)]
    return {"kernel_size": sizes, "_reversed_padding_repeated_twice": twice}
