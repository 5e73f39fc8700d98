"""Tracing: the user's model as plain records, from one forward of an example.

The model runs once in eval mode on fake tensors (shapes without memory or arithmetic), or for real on a copy if
something in it cannot run on fake ones. Hooks see every module's shapes, `dataflow` every operator, so coupling and
costs are complete whatever the user's code does between modules. No code of the user's is serialised, and the model is
left as it was.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves, tree_map_only

from modularnas.errors import NetworkError
from modularnas.ops.slot import Slot
from modularnas.transform import layers
from modularnas.transform.dataflow import DataFlow, holder_names
from modularnas.transform.duplicate import duplicate
from modularnas.transform.kind import kind

__all__ = ["Call", "Example", "Trace", "call_arguments", "evaluating", "joined", "on_meta", "trace"]

Example = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


@dataclass(slots=True)
class Call:
    """One call of a module; its tensors have shape and dtype without memory (fake ones, or on the device "meta").

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        record: the call in the data flow.
        output: what it returned.
        end: how many steps of the data flow there were when it ended.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    record: dict[str, Any]
    output: Any = None
    end: int = 0

    @property
    def input_shape(self) -> torch.Size | None:
        """Shape of the first tensor that it was given."""
        return _first_shape((self.args, self.kwargs))

    @property
    def output_shape(self) -> torch.Size | None:
        """Shape of the first tensor that it returned."""
        return _first_shape(self.output)


@dataclass
class Trace:
    """What one forward showed.

    Attributes:
        network: one record a module, parents first, and the data flow, as the native half reads them.
        calls: every call of each module, by path; only of modules that ran.
        around: for each module, by path, the paths of those without which it does not run: itself and whatever holds
            every use of it.
        shared: for each parameter that is reached in several ways, the paths of the modules on each way.
        cost: params, macs and activation bytes of the whole model.
        waiting: steps of candidates, with the number of steps after which they come.
        filled: of placeholders, by path, the calls of which a candidate has made the output.
    """

    network: dict[str, Any]
    calls: dict[str, list[Call]]
    around: dict[str, set[str]]
    shared: list[list[set[str]]]
    cost: dict[str, int]
    waiting: list[tuple[int, list[dict[str, Any]]]] = field(default_factory=list)
    filled: dict[str, set[int]] = field(default_factory=dict)


def call_arguments(example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call: a tensor, a tuple or list of arguments, or a dict of keywords."""
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, (tuple, list)):
        return tuple(example), {}
    return (example,), {}


def trace(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, fake: bool = False) -> Trace:
    """Runs `model` on an example's arguments and records its modules and data flow.

    Args:
        model: the model.
        args: positional arguments.
        kwargs: keyword arguments.
        fake: whether to give up if it cannot run on fake tensors.

    Raises:
        NetworkError: if the model does not run on them; the cause is chained.
    """
    try:
        # The structure is copied, not the tensors: a forward may set attributes, but writes no real tensor here.
        tensors = [tensor for module in model.modules() for _, tensor, _ in holder_names(module)]
        seen = _observe(duplicate(model, {id(tensor): tensor for tensor in tensors}), args, kwargs, fake=True)
    except Exception as error:
        if fake:
            raise NetworkError(f"the model {type(model).__name__} does not run on fake tensors") from error
        try:
            # Not everything has a fake form (custom kernels, values that decide the control flow).
            seen = _observe(duplicate(model, {}), args, kwargs, fake=False)
        except Exception as error:
            example = args[0] if len(args) == 1 and not kwargs else kwargs or args
            raise NetworkError(
                f"the model {type(model).__name__} does not run on example={_describe(example)}: "
                f"{type(error).__name__}: {error}"
            ) from error
    return _records(seen)


class _Structure:
    """A module tree, walked once.

    Attributes:
        modules: every module by its first path, parents first.
        ways: for each of them: the modules on every way to it, itself included, by their first paths.
        holders: for each parameter and buffer: the path of each module that has it, the name there, whether it is
            trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules: dict[str, nn.Module] = {}
        self.ways: dict[str, list[set[str]]] = {}
        self.holders: dict[Tensor, list[tuple[str, str, bool]]] = {}
        self._first: dict[int, str] = {}
        self._walk(model, "", set())
        for path, module in self.modules.items():
            for name, tensor, trained in holder_names(module):
                self.holders.setdefault(tensor, []).append((path, name, trained))

    def _walk(self, module: nn.Module, path: str, before: set[str]) -> None:
        own = self._first.setdefault(id(module), path)
        self.modules.setdefault(own, module)
        way = before | {own}
        self.ways.setdefault(own, []).append(way)
        for name, child in module._modules.items():
            if child is not None:
                self._walk(child, f"{path}.{name}" if path else name, way)


@dataclass
class _Seen:
    structure: _Structure
    flow: DataFlow
    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))


def _observe(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, fake: bool) -> _Seen:
    """Runs a model of which nothing else is needed."""
    structure = _Structure(model)
    modules = structure.modules
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else None
    seen = _Seen(structure, DataFlow(list(modules), mode))
    flow = seen.flow
    _register(structure, flow)

    def bare(value: Any) -> Any:
        return value if fake else on_meta(value)

    def watched(module: nn.Module, node: int, path: str, is_leaf: bool, /, *args: Any, **kwargs: Any) -> Any:
        record = flow.enter(node, (args, kwargs) if kwargs else args)
        call = Call(bare(args), bare(kwargs), record)
        seen.calls[path].append(call)
        output = layers.run(flow, module, args[0]) if fake and len(args) == 1 and not kwargs else None
        if output is None:
            output = module._call_impl(*args, **kwargs)
        flow.leave(output, is_leaf)
        call.output, call.end = bare(output), len(flow.steps)
        return output

    _evaluate(modules.values(), model)
    with ExitStack() as stack:
        for node, (path, module) in enumerate(modules.items()):
            is_leaf = not any(module._modules.values()) and type(module) is not nn.Identity  # which makes nothing
            # What a module calls in place of itself, as `Module.compile` sets it: two hooks take far longer.
            module.__dict__["_compiled_call_impl"] = partial(watched, module, node, path, is_leaf)
            if isinstance(module, Slot):
                module.tracing = True
                stack.callback(setattr, module, "tracing", False)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        if mode is not None:
            stack.enter_context(_quiet(torch._subclasses.fake_tensor.log))
            args, kwargs = tree_map_only(Tensor, mode.from_tensor, (args, kwargs))
            stack.enter_context(mode)
        stack.enter_context(flow)
        stack.enter_context(_plain_attention())
        model(*args, **kwargs)
    return seen


def _evaluate(modules: Collection[nn.Module], model: nn.Module) -> None:
    if all(type(module).train is nn.Module.train for module in modules):
        for module in modules:
            module.__dict__["training"] = False
    else:
        model.eval()


def _register(structure: _Structure, flow: DataFlow) -> None:
    """Parameters and buffers of the model, each with every module that has it."""
    node = {path: index for index, path in enumerate(flow.paths)}
    within: dict[tuple[str, ...], list[int]] = {}  # by the paths of those who hold the parameter
    for tensor, holders in structure.holders.items():
        paths = tuple(path for path, _, _ in holders)
        if paths not in within:
            common = set.intersection(*(way for path in paths for way in structure.ways[path]))
            within[paths] = [node[path] for path in common]
        named = [
            f"'{name}' of {type(structure.modules[path]).__name__} is no plain attribute"
            for path, name, _ in holders
            if hasattr(type(structure.modules[path]), name)
        ]
        flow.parameter(
            tensor,
            holders=[[node[path], name] for path, name, _ in holders],
            trained=holders[0][2],
            within=within[paths],
            sealed=named[0] if named else None,
        )


@contextmanager
def _quiet(log: logging.Logger) -> Iterator[None]:
    """Without a log: its errors are raised as well, and become one of ours."""
    before = log.disabled  # not the level, which torch sets whenever it likes
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Without the fused inference kernel of torch's attention layers, whose products no counter sees."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """With a model in eval mode; every module has its own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def joined(path: str, inner: str) -> str:
    """The path of a module, or of a tensor, inside of a module."""
    return f"{path}.{inner}" if path and inner else path or inner


def _records(seen: _Seen) -> Trace:
    structure = seen.structure
    around = {path: set.intersection(*to_module) for path, to_module in structure.ways.items()}
    node = {path: index for index, path in enumerate(around)}
    shared = []
    for holders in structure.holders.values():
        to_parameter = [way for path, _, trained in holders if trained for way in structure.ways[path]]
        if len(to_parameter) > 1:
            shared.append(to_parameter)
    records = [
        {
            "path": path,
            "class": type(module).__name__,
            **kind(module, _sealed(structure, module)),
            "within": [node[other] for other in around[path]],
        }
        for path, module in structure.modules.items()
    ]
    network = {"nodes": records, "flow": seen.flow.record()}
    return Trace(network, dict(seen.calls), around, shared, seen.flow.total())


def _sealed(structure: _Structure, module: nn.Module) -> str | None:
    """Why a layer's weight must not be touched."""
    if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return None
    if parametrize.is_parametrized(module) or "weight" not in module._parameters:
        return "its weight is computed (a parametrization or weight norm)"
    plain = next(c for c in (nn.Conv1d, nn.Conv2d, nn.Conv3d) if isinstance(module, c))
    if type(module).forward is not plain.forward or type(module)._conv_forward is not plain._conv_forward:
        return f"its class {type(module).__name__} has its own forward"
    return "its weight is shared with another module" if len(structure.holders[module.weight]) > 1 else None


def on_meta(value: Any) -> Any:
    """Nested values with tensors of the same shape and dtype on the device "meta"."""
    with unset_fake_temporarily():
        return tree_map_only(Tensor, lambda t: torch.empty(t.shape, dtype=t.dtype, device="meta"), value)


def _first_shape(value: Any) -> torch.Size | None:
    return next((leaf.shape for leaf in tree_leaves(value) if isinstance(leaf, Tensor)), None)


def _describe(example: Example) -> str:
    with suppress(Exception):
        return str(tree_map_only(Tensor, lambda t: f"Tensor{tuple(t.shape)} {t.dtype} on {t.device}", example))
    return type(example).__name__
