"""Deriving: the network of one point as a plain module that needs this library no more.

The structure of the supernet is copied with the chosen candidates in their places and the given classes restored;
parameters come from the weight map of the native half. Nothing is initialised to be overwritten.
"""

from __future__ import annotations

import contextlib
import copy
import json
import operator
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.fx.graph_module import _WrappedCall

from modularnas import _core
from modularnas.errors import NetworkError
from modularnas.nn import Chosen, FewerHeads, MixedOp, Skippable, publish, restore
from modularnas.transform.duplicate import duplicate, without_collection
from modularnas.transform.source import OneLevelTracer, untyped

if TYPE_CHECKING:
    from modularnas.transform.supernet import Supernet

__all__ = ["ARCHITECTURE", "derive"]

#: The attribute of a derived network that says, as plain data, which point it is.
ARCHITECTURE = "_architecture"
#: Moulds of graph modules by what the forwards of their candidate ops depend on, the oldest first; tracing one takes
#: some milliseconds.
_MOULDS: OrderedDict[Hashable, _Mould] = OrderedDict()
_N_MOULDS = 4096


@without_collection()
def derive(supernet: Supernet, point: Any, *, share: bool = False) -> nn.Module:
    """The plain network of a point: original classes, inherited weights, no trace of the supernet.

    In eval mode it gives what the supernet gives with that point active (the law of weight sharing).

    Args:
        supernet: from `mn.rewrite`.
        point: a point of `supernet.space`.
        share: whether weights are views of the supernet's instead of copies. Such a network is for reading: training
            it changes the supernet.

    Raises:
        SpaceError: if it is no point of the supernet's space.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=torch.randn(1, 3, 8, 8))
        >>> mn.derive(supernet, {"0.kernel_size": 5})[0]
        Conv2d(3, 8, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
    """
    from modularnas.transform.supernet import Supernet

    if not isinstance(supernet, Supernet):
        raise NetworkError(f"derive is given a {type(supernet).__name__}; expected a supernet from mn.rewrite")
    point = supernet.space.point(point)
    codes = supernet.space.indices([point])[0].tolist()
    active = supernet._codes
    if supernet._private:
        supernet._switch(codes)  # whose statistics are the ones to copy
    try:
        return _derived(supernet, point, codes, share)
    finally:
        if supernet._private:
            supernet._switch(active)


def _derived(supernet: Supernet, point: Any, codes: list[int], share: bool) -> nn.Module:
    states: dict[int, Any] = {}  # what the point says about mixed ops, lists and blocks, by their id; None: nothing
    held: dict[int, list[nn.Module]] = {}
    for decision, switch in enumerate(supernet._switches):
        for module, by_code in switch:
            state = states[id(module)] = by_code[codes[decision]] if codes[decision] >= 0 else None
            held[id(module)] = _held(module, state)
    reached, tensors = _core.reach_modules(supernet.model, held)
    cut: dict[str, torch.Tensor] = {}
    for path, name in supernet._plan.shared:
        whole = supernet._parts[path].whole(name)
        if id(whole) in tensors:
            cut[f"{path}.{name}" if path else name] = whole
    matrices: dict[str, torch.Tensor] = {}
    for path, part in supernet._parts.items():
        if part.learned_sizes:
            for name, parameter in part.matrices().items():
                matrices[f"{path}.{name}" if path else name] = parameter
    kept = {id(cut[path]): tensor for path, tensor in supernet._plan.slice(point, {**cut, **matrices}).items()}
    with torch.no_grad():
        memo: dict[int, Any] = _core.copy_tensors(tensors, kept, share, _copied)
    with contextlib.nullcontext() if supernet.relaxed is None else supernet.relaxed.whole():
        net, gone = _copy(supernet.model, reached, states, memo)
    for part in supernet._parts.values():
        # An elastic module inside a candidate that was not chosen, or a block that was left out, has no copy.
        copied = memo.get(id(part))
        if copied is not None:
            restore(copied, part.attributes(codes))
    for norm, _ in supernet._private:
        if id(norm) in memo:
            publish(memo[id(norm)])
    if gone:
        _remove(net, gone)
    net = _plain(net)
    size = supernet.resolution(codes)
    if size is not None:
        resize = nn.Upsample(size, mode=supernet.RESIZING)
        net = nn.Sequential(OrderedDict(resize=resize, net=net)).train(net.training)
    net.__dict__[ARCHITECTURE] = {
        "point": json.loads(point.to_json()),
        "space": supernet.space.fingerprint,
        "cost": supernet.cost(point),
    }
    return net


def _copied(part: torch.Tensor, whole: torch.Tensor, share: bool) -> torch.Tensor:
    """What a network has of a tensor that the native half does not copy; called without recording gradients."""
    parameter = isinstance(whole, nn.Parameter)
    data = part.detach()
    if not (share and parameter):
        strided = part.layout == torch.strided
        data = data.clone(memory_format=torch.contiguous_format) if strided else data.clone()
    return nn.Parameter(data, whole.requires_grad) if parameter else data


def _held(module: nn.Module, state: Any) -> list[nn.Module]:
    """The modules that stay in one of which the point says something."""
    held = list(module._modules.values())
    if isinstance(module, MixedOp) and state is not None:
        held = [module.candidates[state]]
    elif isinstance(module, Chosen) and state is not None:
        held = [part for part, here in zip(held, state, strict=True) if here]
    elif isinstance(module, Skippable) and state is False:
        held = []
    return [child for child in held if child is not None]


def _copy(
    model: nn.Module, reached: list[nn.Module], states: dict[int, Any], memo: dict[int, Any]
) -> tuple[nn.Module, set[int]]:
    """A deep copy of the model with what stays, and the ids of what stands for blocks that are left out."""
    gone: set[int] = set()
    for module in reversed(reached):
        if id(module) not in states:
            continue
        state = states[id(module)]
        if isinstance(module, MixedOp):
            if state is not None:
                memo[id(module)] = duplicate(module.candidates[state], memo)
        elif isinstance(module, Chosen):
            if state is not None:
                memo[id(module)] = nn.ModuleList(duplicate(part, memo) for part in _held(module, state))
        elif state is False:
            placeholder = memo[id(module)] = nn.Identity()
            gone.add(id(placeholder))
        elif isinstance(module, Skippable):
            memo[id(module)] = duplicate(module.block, memo)
    return duplicate(model, memo), gone


def _remove(net: nn.Module, gone: set[int]) -> None:
    """Takes what stands for a left out block out of lists of modules; elsewhere it stays, an identity."""
    for parent in net.modules():
        if not isinstance(parent, (nn.Sequential, nn.ModuleList)):
            continue
        left = {name: child for name, child in parent._modules.items() if id(child) not in gone}
        if len(left) < len(parent._modules):
            numbered = all(name == str(i) for i, name in enumerate(parent._modules))
            names = [str(i) for i in range(len(left))] if numbered else list(left)
            parent._modules.clear()
            parent._modules.update(zip(names, left.values(), strict=True))


def _plain(net: nn.Module) -> nn.Module:
    """The network with classes of this library (inside candidate ops) turned into graph modules of torch's."""
    made: dict[nn.Module, nn.Module] = {}  # one for each module, however many places it is in

    def visit(module: nn.Module) -> nn.Module:
        known = made.get(module)
        if known is not None:
            return known
        made[module] = module
        modules = module._modules
        for name, child in modules.items():  # before what holds them, which keeps those in its graph
            if child is not None:
                modules[name] = visit(child)
        if type(module).__module__.partition(".")[0] == "modularnas":
            made[module] = _graph(module)
        return made[module]

    return visit(net)


class _Tracer(OneLevelTracer):
    """As its base; the mode of an attention, on which its dropout depends, stays open."""

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """Called once the graph is there."""
        if isinstance(self.root, FewerHeads):
            self.root.__dict__["training"] = self.create_proxy("get_attr", "training", (), {})
        return super().create_args_for_root(root_fn, is_module, concrete_args)  # type: ignore[no-untyped-call]


class _Mould:
    """What graph modules of one graph have in common, and how one is made of a module.

    Compiling a graph takes longer than to copy what it calls. So graph modules of one graph begin with one code, and
    with a graph of their own when somebody asks for it.
    """

    def __init__(self, graph: fx.Graph, name: str) -> None:
        self.graph = graph
        self.name = name
        targets = [node.target for node in graph.nodes if node.op in ("get_attr", "call_module")]
        self.targets = [target for target in dict.fromkeys(targets) if isinstance(target, str)]
        self.members: dict[str, Any] = {}
        self.state: dict[str, Any] = {}

    def make(self, module: nn.Module) -> fx.GraphModule:
        """A graph module that does what the module does."""
        held: tuple[Any, ...] = (module._modules, module._buffers, module._parameters)
        if not all(any(of_kind.get(target) is not None for of_kind in held) for target in self.targets):
            return self._whole(module)
        if not self.members:
            self._compile(module)
        # A class of its own, as every graph module has: compiling it anew changes the class.
        cls = type(self.name, (_Lazy,), {**self.members, "_mould": self})
        cls._wrapped_call = _WrappedCall(cls, None)  # type: ignore[attr-defined, unused-ignore]
        made: fx.GraphModule = nn.Module.__new__(cls)
        state = made.__dict__
        for name, value in self.state.items():
            # What is in it is the code, which is replaced and never changed.
            state[name] = type(value)() if not value and isinstance(value, (dict, list, set)) else value
        state["training"] = module.training
        for target in self.targets:
            for of_kind, of_made in zip(held, ("_modules", "_buffers", "_parameters"), strict=True):
                if of_kind.get(target) is not None:
                    state[of_made][target] = of_kind[target]
        return made

    def _compile(self, module: nn.Module) -> None:
        pattern = self._whole(module)
        cls = type(pattern)
        self.members = {name: getattr(cls, name) for name in ("forward", "__call__", "__module__", "__qualname__")}
        for name, value in pattern.__dict__.items():
            if name != "_graph":
                self.state[name] = type(value)() if name in ("_modules", "_buffers", "_parameters") else value

    def _whole(self, module: nn.Module) -> fx.GraphModule:
        made = fx.GraphModule(module, copy.deepcopy(self.graph), self.name)
        for path, part in made.named_modules():
            # What held the modules is a bare one now.
            given = module.get_submodule(path)
            if type(part) is nn.Module and type(given) in (nn.ModuleList, nn.ModuleDict):
                part._modules = {name: part._modules.get(name, child) for name, child in given._modules.items()}
                part.__class__ = type(given)
        return made


class _Lazy(fx.GraphModule):
    """A graph module that has its graph made when it is asked for."""

    __jit_unused_properties__ = ["graph", "_boxed_call", "_graph"]  # noqa: RUF012  # what TorchScript reads, a list
    _mould: _Mould

    @property
    def _graph(self) -> fx.Graph:
        graph = self.__dict__.get("_graph")
        if graph is None:
            graph = self.__dict__["_graph"] = copy.deepcopy(self._mould.graph)
            graph.owning_module = self
        return graph

    @_graph.setter
    def _graph(self, graph: fx.Graph) -> None:
        self.__dict__["_graph"] = graph

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        self.__dict__["_graph"] = self._graph
        return super().__deepcopy__(memo)  # type: ignore[no-untyped-call]

    def __reduce__(self) -> Any:
        self.__dict__["_graph"] = self._graph
        return super().__reduce__()  # type: ignore[no-untyped-call]

    def __reduce_package__(self, exporter: Any) -> Any:
        self.__dict__["_graph"] = self._graph
        return super().__reduce_package__(exporter)


#: So that copies of it, whose class torch makes, are plain graph modules.
_Lazy.__qualname__ = "GraphModuleImpl"


def _graph(module: nn.Module) -> fx.GraphModule:
    """A graph module that does what the module does."""
    key = _identity(module)
    mould = _MOULDS.get(key) if key is not None else None
    if mould is None:
        mould = _Mould(_traced(module), type(module).__name__)
        if key is not None:
            _MOULDS[key] = mould
            if len(_MOULDS) > _N_MOULDS:
                _MOULDS.popitem(last=False)
    return mould.make(module)


def _identity(module: nn.Module) -> Hashable | None:
    """What a module's own forward may depend on; None if that has no value to compare."""
    parts: list[Any] = []
    seen: set[int] = set()

    def visit(part: nn.Module) -> None:
        seen.add(id(part))
        parts.append(fx.GraphModule if isinstance(part, fx.GraphModule) else type(part))
        for name, child in part._modules.items():
            if child is not None and id(child) not in seen:
                parts.append(name)
                visit(child)
        parts.append(None)

    visit(module)
    absent = tuple(
        name
        for held in (module._parameters, module._buffers, module._modules)
        for name, value in held.items()
        if value is None
    )
    own = tuple((name, value) for name, value in vars(module).items() if name not in _MACHINERY)
    try:
        return tuple(parts), absent, _frozen(own)
    except TypeError:
        return None


#: What every module has besides what its class gives it.
_MACHINERY = frozenset(vars(nn.Module()))


def _frozen(value: Any) -> Hashable:
    if type(value) in (tuple, list):
        return tuple(map(_frozen, value))
    if type(value) is dict:
        return tuple((key, _frozen(held)) for key, held in value.items())
    if value is None or type(value) in (bool, int, float, str, torch.dtype, torch.Size):
        return type(value), value  # 1 is not True
    raise TypeError(f"{type(value).__name__} has no value to compare")


def _traced(module: nn.Module) -> fx.Graph:
    training = module.training
    given = getattr(module, "called", {})
    graph = untyped(_Tracer().trace(module, concrete_args=given or None))
    graph._tracer_cls = None  # which a pickle would name
    module.training = training
    for node in list(graph.nodes)[::-1]:
        name = str(node.target).removesuffix("_1")
        if "_assert" in name or (node.target is operator.eq and not node.users):
            graph.erase_node(node)
        elif node.op == "placeholder" and name in given:
            # fx renames an argument whose value it takes as given.
            node.target, node.args = name, (given[name],)
            node._rename(name)
    if isinstance(module, FewerHeads):
        # What torch's transformer layers ask of their attention. They have no fast path for this one; and a copy of a
        # graph module has the attributes alone that its graph names.
        with graph.inserting_before(next(iter(graph.nodes))):
            for name in ("batch_first", "_qkv_same_embed_dim"):
                graph.create_node("get_attr", name)
    return graph
