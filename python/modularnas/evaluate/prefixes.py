"""What candidates have in common at their front is computed once.

Networks with the same weights in the same layers give the same outputs up to where they first differ, so evaluating
many of them one by one repeats their common beginnings (Zhang et al. 2020, "Retiarii: A Deep Learning
Exploratory-Training Framework", OSDI, merge them in training too). Candidates come in the order of a prefix tree, that
of their codes: the one before has the longest beginning in common with the next, so remembering the outputs of one
candidate is enough.

Nothing is assumed of the network. A module's output is taken from the candidate before if the module is the same
(class, settings, the memory of its weights, the values of its buffers) and has the same inputs (outputs that were taken
from there themselves, or equal numbers); whatever is computed between modules is computed. Anything out of the ordinary
(a gradient is wanted, hooks inside, random layers in train mode, other inputs than tensors, a compiler) runs as it
would.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

__all__ = ["Prefixes"]

#: A module with less than this part of a network's layers is remembered as a whole.
_PART = 1 / 5
_ORDINARY = frozenset(vars(nn.Module()))


@dataclass(frozen=True)
class _Input:
    """An input: an output that we remember ourselves, as it was, or a copy of anything else."""

    tensor: Tensor
    version: int | None

    def is_like(self, other: Tensor) -> bool:
        if self.version is not None:
            return other is self.tensor and other._version == self.version
        alike = (
            other.shape == self.tensor.shape
            and other.stride() == self.tensor.stride()
            and other.dtype == self.tensor.dtype
            and other.device == self.tensor.device
        )
        return alike and torch.equal(other, self.tensor)


@dataclass(frozen=True)
class _Call:
    """A call that is remembered: of which module, with which inputs, and its output."""

    module: nn.Module
    identity: Any
    inputs: tuple[_Input, ...]
    output: Tensor
    version: int
    n_bytes: int


class Prefixes:
    """Outputs of the modules of one candidate, for the next one.

    Args:
        limit_bytes: what is remembered at most; outputs beyond it are computed for every candidate.
        calibrating: whether batch norms are in train mode, to gather statistics: what a module did to its buffers is
            then repeated with its output.
    """

    def __init__(self, limit_bytes: int, *, calibrating: bool = False) -> None:
        self.limit_bytes = limit_bytes
        self.calibrating = calibrating
        self._kept: dict[tuple[str, int], _Call] = {}
        self._outputs: Counter[int] = Counter()  # how many calls remember the tensor of this id
        self._used_bytes = 0

    @contextmanager
    def of(self, net: nn.Module) -> Iterator[None]:
        """Inside, calls of the network's modules are remembered, or taken from the network before."""
        inplace: list[Any] = [module for module in net.modules() if getattr(module, "inplace", None) is True]
        for module in inplace:
            module.inplace = False  # would write over what is remembered
        identities: dict[nn.Module, Any] = {}
        _identify(net, identities)
        turns: Counter[str] = Counter()
        modules = [(path, module) for path, module in _parts(net) if "forward" not in vars(module)]
        for path, module in modules:
            module.forward = _Remembered(self, path, module, identities[module], turns)
        try:
            yield
        finally:
            for _, module in modules:
                vars(module).pop("forward", None)
            for module in inplace:
                module.inplace = True

    def find(self, place: tuple[str, int], identity: Any, inputs: tuple[Tensor, ...]) -> _Call | None:
        """The call at this place, if it was the same."""
        call = self._kept.get(place)
        if call is None or call.output._version != call.version or call.identity != identity:
            return None
        same = len(call.inputs) == len(inputs) and all(map(_Input.is_like, call.inputs, inputs))
        return call if same else None

    def keep(
        self,
        place: tuple[str, int],
        module: nn.Module,
        identity: Any,
        inputs: tuple[Tensor, ...],
        output: Tensor,
    ) -> None:
        """Remembers a call instead of what was at its place, if there is room."""
        old = self._kept.pop(place, None)
        if old is not None:
            self._used_bytes -= old.n_bytes
            self._outputs[id(old.output)] -= 1
        ours = [self._outputs[id(tensor)] > 0 for tensor in inputs]
        n_bytes = sum(tensor.nbytes for tensor, is_ours in zip(inputs, ours, strict=True) if not is_ours)
        n_bytes += 0 if self._outputs[id(output)] > 0 else output.nbytes
        if self._used_bytes + n_bytes > self.limit_bytes:
            return
        pairs = zip(inputs, ours, strict=True)
        known = tuple(_Input(one, one._version) if is_ours else _Input(one.clone(), None) for one, is_ours in pairs)
        self._kept[place] = _Call(module, identity, known, output, output._version, n_bytes)
        self._used_bytes += n_bytes
        self._outputs[id(output)] += 1


class _Remembered:
    """The forward of a module meanwhile. Copies of the module have their own forward."""

    def __init__(self, prefixes: Prefixes, path: str, module: nn.Module, identity: Any, turns: Counter[str]) -> None:
        self.prefixes = prefixes
        self.path = path
        self.module = module
        self.identity = identity
        self.turns = turns
        self.inside = list(module.modules())
        self.tensors = [*module.parameters(), *module.buffers()]
        self.versions = [tensor._version for tensor in self.tensors]

    def __reduce__(self) -> tuple[Any, ...]:
        return types.MethodType, (type(self.module).forward, self.module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plain = type(self.module).forward
        if kwargs or not args or not self._is_ordinary(args):
            return plain(self.module, *args, **kwargs)
        place = (self.path, self.turns[self.path])
        self.turns[self.path] += 1
        autocast = [torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) for kind in _kinds(args)]
        identity = (self.identity, autocast)
        call = self.prefixes.find(place, identity, args)
        if call is not None:
            if self.prefixes.calibrating:
                for mine, theirs in zip(self.module.buffers(), call.module.buffers(), strict=True):
                    mine.copy_(theirs)
                self.versions = [tensor._version for tensor in self.tensors]
            return call.output
        # Tensors of inference mode have no version to tell whether they were written to.
        with torch.inference_mode(False), torch.no_grad():
            inputs = tuple(tensor.clone() if tensor.is_inference() else tensor for tensor in args)
            output = plain(self.module, *inputs)
            if type(output) is Tensor and not output.is_inference():
                self.prefixes.keep(place, self.module, identity, inputs, output)
        if self.prefixes.calibrating:
            self.versions = [tensor._version for tensor in self.tensors]
        return output

    def _is_ordinary(self, args: tuple[Any, ...]) -> bool:
        """Whether the output is a function of the inputs, and nothing else happens."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch._C._get_tracing_state():
            return False
        if is_in_torch_dispatch_mode() or any(type(one) is not Tensor for one in args):
            return False
        for module in self.inside:
            if module is not self.module and (module._forward_hooks or module._forward_pre_hooks):
                return False
            if module.training and not (self.prefixes.calibrating and isinstance(module, _BatchNorm)):
                return False
        return [tensor._version for tensor in self.tensors] == self.versions


def _kinds(inputs: tuple[Tensor, ...]) -> list[str]:
    return sorted({tensor.device.type for tensor in inputs})


def _parts(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules with their paths, but for the network itself and what is inside of small ones."""
    n_layers = sum(not list(module.children()) for module in net.modules())

    def walk(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        for name, child in module.named_children():
            here = f"{path}.{name}" if path else name
            yield here, child
            if sum(not list(inner.children()) for inner in child.modules()) > _PART * n_layers:
                yield from walk(here, child)

    return walk("", net)


def _identify(module: nn.Module, known: dict[nn.Module, Any]) -> Any:
    """What a module computes with, comparable among networks; of all modules inside too."""
    if isinstance(module, GraphModule):  # each has a class of its own
        what: Any = GraphModule, module.code
    else:
        settings = ((name, _frozen(value)) for name, value in vars(module).items() if name not in _ORDINARY)
        what = type(module), tuple(settings)
    weights = tuple((name, _place(weight)) for name, weight in module.named_parameters(recurse=False))
    buffers = tuple((name, _value(buffer)) for name, buffer in module.named_buffers(recurse=False))
    inside = tuple((name, _identify(child, known)) for name, child in module.named_children())
    known[module] = (what, weights, buffers, inside)
    return known[module]


def _place(weight: Tensor) -> Any:
    return weight.data_ptr(), weight.dtype, weight.device, tuple(weight.shape), weight.stride(), weight._version


def _value(buffer: Tensor) -> Any:
    flat = buffer.detach().cpu().contiguous().flatten()
    return buffer.dtype, buffer.device, tuple(buffer.shape), flat.view(torch.uint8).numpy().tobytes()


def _frozen(value: Any) -> Any:
    """A setting as something that compares by value, or else by what it is."""
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_frozen, value))
    if isinstance(value, dict):
        return type(value), tuple((name, _frozen(inner)) for name, inner in value.items())
    if isinstance(value, Tensor):
        return _place(value), _value(value)
    try:
        hash(value)
    except TypeError:
        return object()
    return value
