"""Tracing: the user's model as plain records, from one forward of an example.

The model runs once in eval mode on fake tensors (shapes without memory or arithmetic), or for real on a copy if
something in it cannot run on fake ones. Hooks see every module's shapes; torch's flop counter sees every matrix
product and convolution, so costs are complete whatever the user's code does between modules. No code of the user's is
serialised, and the model is left as it was.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry
from torch.utils._python_dispatch import TorchDispatchMode

from modularnas.errors import NetworkError
from modularnas.ops.slot import Slot

__all__ = ["Example", "Trace", "call_arguments", "trace"]

Example = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


@dataclass
class Trace:
    """What one forward showed.

    Attributes:
        records: one record a module, parents first, as the native half reads them.
        inputs: shape of the first tensor each module was given, by path; only of modules that ran.
        outputs: shape of the first tensor each module returned, by path.
        cost: params, macs and activation bytes of the whole model.
    """

    records: list[dict[str, Any]]
    inputs: dict[str, torch.Size]
    outputs: dict[str, torch.Size]
    cost: dict[str, int] = field(default_factory=dict)


def call_arguments(example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call: a tensor, a tuple or list of arguments, or a dict of keywords."""
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, (tuple, list)):
        return tuple(example), {}
    return (example,), {}


def trace(model: nn.Module, example: Example) -> Trace:
    """Runs `model` on `example` and records its modules.

    Raises:
        NetworkError: if the model does not run on the example; the cause is chained.
    """
    try:
        seen = _observe(model, example, fake=True)
    except Exception:
        try:
            # Not everything has a fake form (custom kernels, values that decide the control flow).
            seen = _observe(copy.deepcopy(model), example, fake=False)
        except Exception as error:
            raise NetworkError(
                f"the model {type(model).__name__} does not run on example={_describe(example)}: "
                f"{type(error).__name__}: {error}"
            ) from error
    return _records(model, seen)


@dataclass
class _Seen:
    inputs: dict[str, torch.Size] = field(default_factory=dict)
    outputs: dict[str, list[torch.Size]] = field(default_factory=lambda: defaultdict(list))
    macs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    activation_bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class _CountMacs(TorchDispatchMode):
    """Adds the multiply-accumulates of every operator to the modules that are running."""

    def __init__(self, running: list[str], macs: dict[str, int]) -> None:
        super().__init__()
        self.running = running
        self.macs = macs

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            macs = count(*args, **(kwargs or {}), out_val=out) // 2
            for path in set(self.running):
                self.macs[path] += macs
        return out


def _observe(model: nn.Module, example: Example, *, fake: bool) -> _Seen:
    seen = _Seen()
    running: list[str] = []
    args, kwargs = call_arguments(example)

    def enter(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            running.append(path)
            shape = _first_shape((args, kwargs))
            if shape is not None:
                seen.inputs.setdefault(path, shape)

        return hook

    def leave(path: str, leaf: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            running.pop()
            shape = _first_shape(output)
            if shape is not None:
                seen.outputs[path].append(shape)
            if leaf:
                size = sum(t.numel() * t.element_size() for t in tree_leaves(output) if isinstance(t, Tensor))
                for around in {*running, path}:
                    seen.activation_bytes[around] += size

        return hook

    with ExitStack() as stack:
        for path, module in model.named_modules():
            leaf = not any(True for _ in module.children())
            stack.callback(module.register_forward_pre_hook(enter(path), with_kwargs=True, prepend=True).remove)
            stack.callback(module.register_forward_hook(leave(path, leaf), with_kwargs=True).remove)
            if isinstance(module, Slot):
                module.tracing = True
                stack.callback(setattr, module, "tracing", False)
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        if fake:
            mode = FakeTensorMode(allow_non_fake_inputs=True)
            args, kwargs = tree_map_only(Tensor, mode.from_tensor, (args, kwargs))
            stack.enter_context(mode)
        stack.enter_context(_CountMacs(running, seen.macs))
        model(*args, **kwargs)
    return seen


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _records(model: nn.Module, seen: _Seen) -> Trace:
    owners = _parameter_owners(model)
    records = []
    for path, module in model.named_modules():
        params = sum(n for owner, n in owners.items() if _is_within(owner, path))
        records.append(
            {
                "path": path,
                "class": type(module).__name__,
                **_kind(module, _sealed(model, module)),
                "cost": {
                    "params": params,
                    "macs": seen.macs.get(path, 0),
                    "activation_bytes": seen.activation_bytes.get(path, 0),
                },
                "outputs": [list(shape) for shape in seen.outputs.get(path, [])],
            }
        )
    outputs = {path: shapes[0] for path, shapes in seen.outputs.items()}
    return Trace(records, seen.inputs, outputs, dict(records[0]["cost"]))


def _parameter_owners(model: nn.Module) -> dict[str, int]:
    """Number of parameters by the innermost module that holds every use of them."""
    places: dict[Tensor, list[str]] = defaultdict(list)
    for path, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                places[parameter].append(path)
    owners: dict[str, int] = defaultdict(int)
    for parameter, paths in places.items():
        common = paths[0].split(".") if paths[0] else []
        for path in paths[1:]:
            parts = path.split(".") if path else []
            same = [a == b for a, b in zip(common, parts, strict=False)]
            common = common[: same.index(False) if False in same else len(same)]
        owners[".".join(common)] += parameter.numel()
    return owners


def _is_within(path: str, ancestor: str) -> bool:
    return ancestor == "" or path == ancestor or path.startswith(ancestor + ".")


def _kind(module: nn.Module, sealed: str | None) -> dict[str, Any]:
    if isinstance(module, Slot):
        return {"kind": "slot"}
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        padding = module.padding
        if padding == "valid":
            padding = (0,) * len(module.kernel_size)
        return {
            "kind": "conv",
            "in_channels": module.in_channels,
            "out_channels": module.out_channels,
            "kernel_size": list(module.kernel_size),
            "padding": None if isinstance(padding, str) else list(padding),
            "dilation": list(module.dilation),
            "groups": module.groups,
            "sealed": sealed,
        }
    return {"kind": "other"}


def _sealed(model: nn.Module, module: nn.Module) -> str | None:
    """Why a layer's weight must not be touched."""
    if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return None
    if parametrize.is_parametrized(module) or "weight" not in module._parameters:
        return "its weight is computed (a parametrization or weight norm)"
    plain = next(c for c in (nn.Conv1d, nn.Conv2d, nn.Conv3d) if isinstance(module, c))
    if type(module).forward is not plain.forward or type(module)._conv_forward is not plain._conv_forward:
        return f"its class {type(module).__name__} has its own forward"
    holders = sum(1 for other in model.modules() for p in other._parameters.values() if p is module.weight)
    return "its weight is shared with another module" if holders > 1 else None


def _first_shape(value: Any) -> torch.Size | None:
    return next((leaf.shape for leaf in tree_leaves(value) if isinstance(leaf, Tensor)), None)


def _describe(example: Example) -> str:
    with suppress(Exception):
        return str(tree_map_only(Tensor, lambda t: f"Tensor{tuple(t.shape)} {t.dtype} on {t.device}", example))
    return type(example).__name__
