"""Elastic modules: modules whose parameters are slices of larger ones.

Any module becomes elastic by changing its class in place to a subclass of its own: every parameter and buffer that is
cut becomes a property that gives the part that stays, as a view where that is one range of each dimension. So the
user's forward runs unchanged on whatever size is active, and parameters keep their names and identity. Ordinary
attributes that say a size (`in_channels`, `kernel_size`, `normalized_shape`) follow. The same slices exist as a Rust
weight map; the law of weight sharing holds them together.

A kernel may shrink in a learned way: `learn_kernels` adds the matrices by which each next smaller centre is multiplied.

Slimmable networks (Yu et al. 2018, arXiv 1812.08928) and Once-for-All (Cai et al. 2020, arXiv 1908.09791, section 3.3)
write such layers by hand, one class for each kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from modularnas.nn.attention import FewerHeads

__all__ = ["Cut", "Diagonal", "Elastic", "Setting", "elastic", "follow", "restore"]

Range = tuple[int, int]

#: Attributes of an elastic module that are replaced and never changed in place, so that copies may share them. (No
#: attributes of the class: that is the user's as well.)
REPLACED = frozenset({"cuts", "diagonals", "settings", "decisions", "paddings", "_given", "_parts", "_blocks"})
#: Attributes of it that no copy has.
MOMENTARY = frozenset({"_known", "_masks"})

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

    kind: str = "sliced"
    given_class: type[nn.Module]
    cuts: tuple[Cut, ...]
    diagonals: tuple[Diagonal, ...]
    settings: tuple[Setting, ...]
    decisions: tuple[int, ...]
    paddings: tuple[int, Sequence[tuple[int, ...] | None]] | None

    @classmethod
    def members(cls, given: type[nn.Module]) -> dict[str, Any]:
        """What else the elastic subclass of a class needs."""
        return {}

    def activate(self, codes: Sequence[int]) -> None:
        """Makes the sizes of a point's codes the ones that are used."""
        state = self.__dict__
        state["_parts"], attributes = self._prepared(codes)
        state.update(attributes)

    def attributes(self, codes: Sequence[int]) -> dict[str, Any]:
        """What says the sizes of a point's codes."""
        attributes = self._prepared(codes)[1]
        return {name: [*value] if type(value) is list else value for name, value in attributes.items()}

    def _prepared(self, codes: Sequence[int]) -> tuple[dict[str, list[tuple[int, Range | Tensor]]], dict[str, Any]]:
        key = tuple([codes[decision] for decision in self.decisions])
        known = self.__dict__["_known"].get(key)
        if known is None:
            known = self.__dict__["_known"][key] = self._prepare(codes)
        return known  # type: ignore[no-any-return]

    def _prepare(self, codes: Sequence[int]) -> tuple[dict[str, list[tuple[int, Range | Tensor]]], dict[str, Any]]:
        """What stays of each parameter, and the attributes that go with it."""
        parts: dict[str, list[tuple[int, Range | Tensor]]] = {}
        sizes: dict[str, list[int]] = {}
        for cut in self.cuts:
            whole = self.whole(cut.name)
            size = sizes.setdefault(cut.name, list(whole.shape))
            ranges = cut.ranges(codes)
            size[cut.dim] = sum(length for _, length in ranges)
            if ranges == [(0, whole.shape[cut.dim])] or (self.learned_sizes and cut.dim >= FIRST_SPATIAL):
                continue
            index: Range | Tensor
            if len(ranges) == 1:
                index = ranges[0]
            else:
                index = torch.cat([torch.arange(start, start + length) for start, length in ranges]).to(whole.device)
            parts.setdefault(cut.name, []).append((cut.dim, index))
        attributes = follow(self, self.__dict__["_given"], sizes)
        paddings = self.paddings
        if paddings is not None and codes[paddings[0]] >= 0:
            attributes.update(_kernel(self, sizes["weight"][FIRST_SPATIAL:], paddings[1][codes[paddings[0]]]))
        if self.learned_sizes:
            attributes["_size"] = sizes["weight"][FIRST_SPATIAL]
        attributes.update(self.set(codes))
        attributes["_blocks"] = {diagonal.name: diagonal.parts(codes) for diagonal in self.diagonals}
        return parts, attributes

    def set(self, codes: Sequence[int]) -> dict[str, Any]:
        """The attributes that decisions set."""
        attributes: dict[str, Any] = {}
        for decision, by_code in self.settings:
            if codes[decision] >= 0:
                attributes.update(by_code[codes[decision]])
        return attributes

    def whole(self, name: str) -> Tensor:
        """A parameter or buffer with everything that is shared."""
        tensor = self._parameters.get(name)  # type: ignore[attr-defined]
        return self._buffers[name] if tensor is None else tensor  # type: ignore[attr-defined, no-any-return]

    def part(self, name: str) -> Tensor:
        """What stays of a parameter or buffer; a view where that is one range of each dimension."""
        tensor = self.whole(name)
        if self.learned_sizes and name == "weight":
            tensor = self.shrunk(tensor, self.__dict__["_size"])
        for dim, index in self.__dict__["_parts"].get(name, ()):
            if isinstance(index, tuple):
                tensor = tensor.narrow(dim, *index)
            else:
                tensor = tensor.index_select(dim, index.to(tensor.device))
        for diagonal in self.diagonals:
            if diagonal.name == name:
                tensor = diagonal.of(tensor, self.__dict__["_blocks"][name])
        mask = self.__dict__["_masks"].get(name)
        return tensor if mask is None else tensor * mask

    def weigh(self, name: str, mask: Tensor | None) -> None:
        """Multiplies what stays of a parameter with a mask that fits it, until None takes the mask away."""
        masks: dict[str, Tensor] = {**self.__dict__["_masks"]}
        masks.pop(name, None)
        self.__dict__["_masks"] = masks if mask is None else {**masks, name: mask}

    @property
    def learned_sizes(self) -> tuple[int, ...]:
        """The kernel sizes that have a matrix, from large to small."""
        return self.__dict__.get("_learned", ())  # type: ignore[no-any-return]

    def learn_kernels(self) -> None:
        """Adds the matrices of a kernel that shrinks in a learned way; they start as the identity.

        Cai et al. 2020, arXiv 1908.09791, section 3.3 ("elastic kernel size").
        """
        weight = self.whole("weight")
        if self.paddings is None or self.learned_sizes:
            return
        decision = self.paddings[0]
        cut = next(cut for cut in self.cuts if decision in cut.decisions)
        sizes = sorted({length for run in cut.runs for _, length in run[1]}, reverse=True)
        self.__dict__["_learned"] = tuple(size for size in sizes if size < weight.shape[cut.dim])
        for size in self.learned_sizes:
            eye = torch.eye(size ** (weight.dim() - FIRST_SPATIAL), dtype=weight.dtype, device=weight.device)
            self.register_parameter(_matrix(size), nn.Parameter(eye))  # type: ignore[attr-defined]
        self.__dict__.update(_known={}, _parts={})

    def matrices(self) -> dict[str, Tensor]:
        """The matrices by name."""
        return {name: self.whole(name) for name in map(_matrix, self.learned_sizes)}

    def shrunk(self, kernel: Tensor, size: int) -> Tensor:
        """The kernel of a size: the centre of each next smaller one times its matrix."""
        for step in self.learned_sizes:
            if not size <= step < kernel.shape[-1]:
                continue
            margin = (kernel.shape[-1] - step) // 2
            for dim in range(FIRST_SPATIAL, kernel.dim()):
                kernel = kernel.narrow(dim, margin, step)
            matrix = self._parameters[_matrix(step)]  # type: ignore[attr-defined]
            kernel = nn.functional.linear(kernel.flatten(FIRST_SPATIAL), matrix).view_as(kernel)
        return kernel

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A mask belongs to one forward, and tensors within a graph cannot be copied.
        state = {name: value for name, value in self.__dict__.items() if name not in MOMENTARY}
        return _rebuild, (self.given_class, _names(self.cuts, self.diagonals), type(self).kind), state

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


class _ElasticAttention(Elastic):
    """Torch's attention, which knows no heads that are fewer than its width has room for."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the given class's, with the active heads."""
        if self.num_heads == self.__dict__["_given"].get("num_heads", self.num_heads):  # type: ignore[attr-defined]
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        return FewerHeads.forward(self, *args, **kwargs)  # type: ignore[arg-type]


#: Mixed into the elastic subclass of a module's class, by kind; for norms with running statistics the second.
KINDS: dict[str, tuple[type[Elastic], type[Elastic]]] = {"sliced": (Elastic, _ElasticNorm)}

#: The elastic classes made so far, by the given class, the names of what is cut, and the kind.
_CLASSES: dict[tuple[Any, tuple[str, ...], str], Any] = {}


def _class(given: type[nn.Module], names: tuple[str, ...], kind: str) -> Any:
    if (given, names, kind) in _CLASSES:
        return _CLASSES[given, names, kind]

    def part(name: str) -> property:
        def read(self: Any) -> Tensor:
            # A shard is no place to slice: FSDP reads it outside of forwards, and these see the tensor itself.
            whole: Tensor = self.whole(name)
            return whole if hasattr(whole, "device_mesh") else self.part(name)

        return property(read)

    base = KINDS[kind][issubclass(given, _NormBase)]
    if given is nn.MultiheadAttention and base is Elastic:
        base = _ElasticAttention
    members: dict[str, Any] = {name: part(name) for name in names}
    members.update(base.members(given), given_class=given, kind=kind, __module__=given.__module__)
    made = _CLASSES[given, names, kind] = type(f"Elastic{given.__name__}", (base, given), members)
    return made


def _rebuild(given: type[nn.Module], names: tuple[str, ...], kind: str) -> nn.Module:
    return given.__new__(_class(given, names, kind))  # type: ignore[no-any-return]


def elastic(
    module: nn.Module,
    cuts: Sequence[Cut],
    paddings: tuple[int, Sequence[tuple[int, ...] | None]] | None = None,
    kind: str = "sliced",
    diagonals: Sequence[Diagonal] = (),
    settings: Sequence[Setting] = (),
) -> Elastic:
    """Makes a module elastic in place and returns it.

    Args:
        module: any module; its parameters are already as large as the largest size.
        cuts: what is cut.
        paddings: of a convolution of elastic kernel size, the decision and the padding at each code.
        kind: `"sliced"`, or `"masked"` (`masked.py`).
        diagonals: which kernels are divided into blocks.
        settings: which other attributes decisions set.
    """
    assert not isinstance(module, Elastic)
    module.__class__ = _class(type(module), _names(cuts, diagonals), kind)
    decisions = [decision for cut in cuts for decision in cut.decisions]
    decisions += [diagonal.decision for diagonal in diagonals] + [decision for decision, _ in settings]
    names = [*_ATTRIBUTES, *(name for _, by_code in settings for name in by_code[0])]
    given = {name: module.__dict__[name] for name in names if name in module.__dict__}
    state = {"cuts": tuple(cuts), "diagonals": tuple(diagonals), "settings": tuple(settings)}
    blocks = {diagonal.name: diagonal.given // diagonal.fewest for diagonal in diagonals}
    module.__dict__.update(state, decisions=tuple(dict.fromkeys(decisions)), paddings=paddings, _given=given)
    module.__dict__.update(_known={}, _parts={}, _masks={}, _blocks=blocks)
    assert isinstance(module, Elastic)
    return module


def _names(cuts: Sequence[Cut], diagonals: Sequence[Diagonal]) -> tuple[str, ...]:
    """The parameters and buffers of which a part may stay."""
    return tuple(dict.fromkeys([*(cut.name for cut in cuts), *(diagonal.name for diagonal in diagonals)]))


def restore(module: nn.Module, attributes: Mapping[str, Any] | None = None) -> None:
    """Gives an elastic module its own class back; its parameters are those it has.

    Args:
        module: the module.
        attributes: what `Elastic.attributes` says of the sizes that it has; None: those last active stay.
    """
    assert isinstance(module, Elastic)
    if attributes is not None:
        module.__dict__.update(attributes)
    given: type[nn.Module] = module.given_class
    if given is nn.MultiheadAttention and module.__dict__["num_heads"] != module.__dict__["_given"].get(
        "num_heads", module.__dict__["num_heads"]
    ):
        given = FewerHeads
    for size in module.learned_sizes:
        del module._parameters[_matrix(size)]
    for name in [name for name in module._buffers if name.startswith(MASK)]:
        delattr(module, name)
    for name in _OWN:
        module.__dict__.pop(name, None)
    module.__class__ = given  # type: ignore[assignment]  # mypy knows no change of class


#: Every attribute that an elastic module has and its own class has not.
_OWN = (*sorted(REPLACED | MOMENTARY), "_copies", "_learned", "_size")
#: What the names of the buffers of masked modules begin with.
MASK = "mask_"

#: A convolution's weight has its spatial dimensions after two of channels.
FIRST_SPATIAL = 2


def _matrix(size: int) -> str:
    """The name that the native half knows as well."""
    return f"kernel_transform_{size}"


#: Attributes of torch's modules that say a size of theirs.
_ATTRIBUTES = (
    "in_channels out_channels groups kernel_size padding _reversed_padding_repeated_twice in_features out_features "
    "num_features num_channels normalized_shape embedding_dim num_parameters nx nf"
).split()


def follow(module: Any, given: Mapping[str, Any], sizes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The attributes of a module of torch's that go with the sizes of its parameters.

    Args:
        module: the module.
        given: its attributes when its parameters had the sizes that they were made with.
        sizes: the shapes of its parameters and buffers by name.
    """
    changed: dict[str, Any] = {}
    weight = sizes.get("weight")
    if isinstance(module, nn.modules.conv._ConvNd) and weight is not None:
        groups = min([given["groups"], *(diagonal.fewest for diagonal in getattr(module, "diagonals", ()))])
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


def _kernel(conv: Any, size: Sequence[int], padding: tuple[int, ...] | None) -> dict[str, Any]:
    """Kernel size and padding; None as padding is `padding="same"`."""
    if padding is not None:
        twice = [n for n in reversed(padding) for _ in range(2)]
        return {"kernel_size": tuple(size), "padding": padding, "_reversed_padding_repeated_twice": twice}
    total = [d * (k - 1) for d, k in zip(reversed(conv.dilation), reversed(size), strict=True)]
    twice = [part for n in total for part in (n // 2, n - n // 2)]
    return {"kernel_size": tuple(size), "_reversed_padding_repeated_twice": twice}
