"""The data flow of one forward: what each operator does to the dimensions of its tensors.

A dispatch mode sees every operator of torch that runs, whatever the user's code between them is, and writes down which
dimensions belong together; the native half decides from it which channels are coupled and what every size costs. An
operator that no rule below knows needs its tensors whole: what is not understood is fixed, never guessed. A rule is a
function in a table; letters name dimensions as in `torch.einsum`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = ["DataFlow"]

#: A dimension that an operator takes in any size; one that it needs as it is.
FREE, WHOLE = -2, -1

PARAMS, MACS, ACTIVATION_BYTES = 0, 1, 2

aten = torch.ops.aten

Rule = Callable[["DataFlow", Any, tuple[Any, ...], dict[str, Any], Any], None]


class DataFlow(TorchDispatchMode):
    """Records tensors, steps and costs while a model runs.

    Args:
        paths: the path of each node.
        mode: the mode of fake tensors, of which only shapes matter; None: tensors are real.

    Attributes:
        running: the nodes (by index) that are running, outermost first.
    """

    def __init__(self, paths: Sequence[str], mode: FakeTensorMode | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.paths = paths
        self.mode = mode
        self.running: list[int] = []
        self._within: list[int] = []  # the same, each once
        self.tensors: list[list[int]] = []
        self.operators: list[str] = []
        self.steps: list[dict[str, Any]] = []
        self.layers: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.parameters: list[dict[str, Any]] = []
        self._index: dict[int, int] = {}
        self._kept: list[Tensor] = []  # an id is unique only while its tensor lives
        self._weights: set[int] = set()
        self._nothing: Tensor | None = None
        self._open_calls: list[dict[str, Any]] = []
        self._names: dict[tuple[str, int], int] = {}

    def register(self, tensor: Tensor) -> int:
        """The index of a tensor."""
        index = self._index.get(id(tensor))
        if index is None:
            index = self._index[id(tensor)] = self.phantom(tensor.shape)
            self._kept.append(tensor)
        return index

    def nothing(self, like: Tensor) -> Tensor:
        """A tensor without elements."""
        if self._nothing is None or self._nothing.dtype != like.dtype or self._nothing.device != like.device:
            self._nothing = _made(self, like, (0,))
        return self._nothing

    def phantom(self, shape: Sequence[int]) -> int:
        """The index of a tensor between two steps of one operator."""
        self.tensors.append(list(shape))
        return len(self.tensors) - 1

    def parameter(self, tensor: Tensor, **record: Any) -> None:
        """Registers a parameter or buffer."""
        index = self.register(tensor)
        self._weights.add(index)
        self.parameters.append({"tensor": index, **record})

    def enter(self, node: int, inputs: Any) -> dict[str, Any]:
        """A module starts; returns the record of its call."""
        self.running.append(node)
        self._within = list(dict.fromkeys(self.running))
        tensors = [self.register(t) for t in _tensors(inputs)]
        call = {"node": node, "inputs": tensors, "outputs": [], "residual": False}
        self.calls.append(call)
        self._open_calls.append(call)
        return call

    def leave(self, output: Any, is_leaf: bool) -> None:
        """The module that started last ends."""
        call = self._open_calls.pop()
        tensors = _tensors(output)
        call["outputs"] = [self.register(t) for t in tensors]
        if is_leaf:
            for index, tensor in zip(call["outputs"], tensors, strict=True):
                axes = [[index, dim] for dim in range(tensor.dim())]
                self.item(ACTIVATION_BYTES, axes, tensor.element_size())
        self.running.pop()
        self._within = list(dict.fromkeys(self.running))

    def item(self, metric: int, axes: list[list[int]], coefficient: int = 1) -> None:
        """Adds a product of sizes to the cost."""
        self.items.append({"metric": metric, "coefficient": coefficient, "axes": axes, "within": self._within})

    def record(self) -> dict[str, Any]:
        """What was seen, as the native half reads it."""
        names = ("tensors", "operators", "steps", "layers", "calls", "items", "parameters")
        return {name: getattr(self, name) for name in names}

    def total(self) -> dict[str, int]:
        """The cost of the forward."""
        cost = [0, 0, 0]
        for parameter in self.parameters:
            if parameter["trained"]:
                cost[PARAMS] += prod(self.tensors[parameter["tensor"]])
        for item in self.items:
            cost[item["metric"]] += item["coefficient"] * prod(self.tensors[t][dim] for t, dim in item["axes"])
        return {"params": cost[PARAMS], "macs": cost[MACS], "activation_bytes": cost[ACTIVATION_BYTES]}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet is torch.ops.prim.device and isinstance(args[0], FakeTensor):
            return args[0].fake_device
        out = None
        if self.mode is not None and (shapes := SHAPES.get(packet)) is not None:
            out = shapes(self, func, args, kwargs)
        if out is None:
            out = func(*args, **kwargs)
        self._write(func, args, kwargs, out)
        return out

    def made(self, func: Any, args: tuple[Any, ...]) -> Any:
        """What an operator returns, recorded as if torch had run it; None if only torch knows its shape."""
        out = SHAPES[func._overloadpacket](self, func, args, {})
        if out is not None:
            self._write(func, args, {}, out)
        return out

    def _write(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        packet = func._overloadpacket
        rule = RULES.get(packet)
        if rule is None:
            rule = _elementwise if torch.Tag.pointwise in func.tags else _unknown
        n_items = len(self.items)
        rule(self, func, args, kwargs, out)
        if len(self.items) == n_items and (count := flop_registry.get(packet)) is not None:
            self.item(MACS, [], count(*args, **kwargs, out_val=out) // 2)

    def operator(self, func: Any) -> int:
        """The index of an operator's name in the module that is running."""
        node = self.running[-1] if self.running else 0
        name = func._overloadpacket.__name__
        index = self._names.get((name, node))
        if index is None:
            index = self._names[name, node] = len(self.operators)
            path = self.paths[node]
            self.operators.append(f"'{name}' in '{path}'" if path else f"'{name}' in the model's own forward")
        return index

    def align(self, func: Any, inputs: Sequence[tuple[Tensor | int, Sequence[int]]], outputs: Any) -> None:
        """Writes down that dimensions with the same letter are the same."""
        tensors, letters = [], []
        for tensor, spelled in inputs:
            tensors.append(tensor if isinstance(tensor, int) else self.register(tensor))
            letters.append(list(spelled))
        made = len(self.tensors)
        for tensor, spelled in outputs:
            tensors.append(tensor if isinstance(tensor, int) else self.register(tensor))
            letters.append(list(spelled))
        step = {"step": "align", "tensors": tensors, "letters": letters, "made": made, "operator": self.operator(func)}
        self.steps.append(step)

    def view(self, func: Any, given: int, made: int) -> None:
        """Writes down that one tensor has the elements of another under another shape."""
        node = self.running[-1] if self.running else 0
        step = {"step": "view", "from": given, "to": made, "operator": self.operator(func), "node": node}
        self.steps.append(step)

    def layer(self, output: list[int], reads: list[int] | None) -> None:
        """Writes down that a dimension of a weight makes channels, and which one reads them."""
        node = self.running[-1] if self.running else 0
        self.layers.append({"node": node, "output": output, "input": reads})

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter, or one in another shape."""
        return self._index.get(id(tensor)) in self._weights

    def same_weight(self, given: Tensor, result: Tensor) -> None:
        """A parameter in another shape stays one."""
        if self.is_weight(given):
            self._weights.add(self.register(result))


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    kind = type(values)
    if kind is tuple or kind is list:
        return [tensor for value in values for tensor in _tensors(value)]
    if kind is dict:
        return [tensor for value in values.values() for tensor in _tensors(value)]
    if values is None or kind in (int, float, bool, str):
        return []
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _bound(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults included."""
    bound = {}
    for i, argument in enumerate(func._schema.arguments):
        if i < len(args):
            bound[argument.name] = args[i]
        else:
            bound[argument.name] = kwargs.get(argument.name, argument.default_value)
    return bound


def _unknown(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    inputs = [flow.register(t) for t in _tensors((args, kwargs))]
    outputs = [flow.register(t) for t in _tensors(out)]
    if inputs and outputs:
        flow.steps.append({"step": "fix", "tensors": inputs + outputs, "operator": flow.operator(func)})


def _constant(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    """What is made has nothing to do with what is given."""


def _broadcast(tensor: Tensor, to: Tensor) -> list[int]:
    """Letters of a tensor that is broadcast: the numbers of the dimensions of the result."""
    skip = to.dim() - tensor.dim()
    return [FREE if size == 1 and to.shape[skip + i] != 1 else skip + i for i, size in enumerate(tensor.shape)]


def _elementwise(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    results = _tensors(out)
    if not results:
        return
    largest = results[0]
    inputs = _tensors((args, kwargs))
    if any(t.dim() > largest.dim() for t in inputs) or any(t.shape != largest.shape for t in results):
        _unknown(flow, func, args, kwargs, out)
        return
    flow.align(
        func,
        [(t, _broadcast(t, largest)) for t in inputs if t.dim()],
        [(t, range(t.dim())) for t in results],
    )
    if func._overloadpacket in (aten.add, aten.add_):
        operands = {flow.register(t) for t in inputs}
        for call in flow._open_calls:
            if call["inputs"] and call["inputs"][0] in operands:
                call["residual"] = True
    if len(inputs) == 1:
        flow.same_weight(inputs[0], largest)


def _convolution(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x, weight, bias, _, _, _, transposed, _, groups = args
    n_spatial = x.dim() - 2
    spatial = [WHOLE] * n_spatial
    made = [] if bias is None else [(bias, [2])]
    w = flow.register(weight)
    makes, reads = (1, 0) if transposed else (0, 1)
    if groups == 1:
        spelled = [1, 2] if transposed else [2, 1]
        flow.align(func, [(x, [0, 1, *spatial]), (weight, spelled + spatial), *made], [(out, [0, 2, *spatial])])
    elif transposed:
        if weight.shape[1] != 1:
            _unknown(flow, func, args, kwargs, out)
            return
        bias_too = [] if bias is None else [(bias, [1])]
        letters = [(x, [0, 1, *spatial]), (weight, [1, WHOLE, *spatial]), *bias_too]
        flow.align(func, letters, [(out, [0, 1, *spatial])])
        makes = 0
    else:
        channels = [flow.register(x), 1]
        members = weight.shape[1]
        if members == 1:
            times = weight.shape[0] // groups
            flow.steps.append({"step": "repeat", "from": channels, "to": [w, 0], "times": times})
        else:
            flow.steps.append({"step": "group", "axis": channels, "groups": groups, "member": [w, 1]})
            flow.steps.append({"step": "group", "axis": [w, 0], "groups": groups, "member": None})
        spelled = [2, WHOLE if members == 1 else FREE, *spatial]
        flow.align(func, [(x, [0, FREE, *spatial]), (weight, spelled), *made], [(out, [0, 2, *spatial])])
    if flow.is_weight(weight):
        flow.layer([w, makes], [w, reads] if groups == 1 or weight.shape[1] > 1 else None)
    o = flow.register(out)
    if transposed:
        first = flow.register(x)
        positions = [[first, 0], *([first, 2 + i] for i in range(n_spatial))]
        axes = [*positions, *([w, dim] for dim in range(weight.dim()))]
    else:
        axes = [*([o, dim] for dim in range(out.dim())), *([w, dim] for dim in range(1, weight.dim()))]
    flow.item(MACS, axes)


def _product(flow: DataFlow, func: Any, a: Tensor, b: Tensor, added: Sequence[Tensor], out: Tensor) -> None:
    """Matrix products, batched or not."""
    batch = list(range(a.dim() - 2))
    row, inner, column = len(batch), len(batch) + 1, len(batch) + 2
    result = [*batch, row, column]
    inputs = [(a, [*batch, row, inner]), (b, [*batch, inner, column])]
    for tensor in added:
        spelled = [result[letter] if letter >= 0 else letter for letter in _broadcast(tensor, out)]
        inputs.append((tensor, spelled))
    flow.align(func, inputs, [(out, result)])
    left, right, o = flow.register(a), flow.register(b), flow.register(out)
    n = a.dim()
    if flow.is_weight(b):
        flow.layer([right, n - 1], [right, n - 2])
    elif flow.is_weight(a):
        flow.layer([left, n - 2], [left, n - 1])
    flow.item(MACS, [*([o, dim] for dim in range(n)), [left, n - 1]])


def _mm(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    _product(flow, func, args[0], args[1], (), out)


def _addmm(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    _product(flow, func, args[1], args[2], args[:1], out)


def _mv(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    flow.align(func, [(args[0], [0, 1]), (args[1], [1])], [(out, [0])])


def _linear(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x, weight, bias = (*args, None)[:3]
    batch = list(range(x.dim() - 1))
    reads, makes = len(batch), len(batch) + 1
    bias_too = [] if bias is None else [(bias, [makes])]
    flow.align(func, [(x, [*batch, reads]), (weight, [makes, reads]), *bias_too], [(out, [*batch, makes])])
    w, o = flow.register(weight), flow.register(out)
    if flow.is_weight(weight):
        flow.layer([w, 0], [w, 1])
    flow.item(MACS, [*([o, dim] for dim in range(out.dim())), [w, 1]])


def _attention(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    bound = _bound(func, args, kwargs)
    query, key, value = bound["query"], bound["key"], bound["value"]
    b, h, q, k, e, f, g = range(7)
    shared = h
    if query.shape[1] != key.shape[1]:  # some heads of the query share one of keys and values
        shared = g
        times = query.shape[1] // key.shape[1]
        heads = {"from": [flow.register(key), 1], "to": [flow.register(query), 1]}
        flow.steps.append({"step": "repeat", **heads, "times": times})
    inputs = [(query, [b, h, q, e]), (key, [b, shared, k, e]), (value, [b, shared, k, f])]
    mask = bound.get("attn_mask", bound.get("attn_bias"))
    if mask is not None:
        spelled = [b, h, q, k][4 - mask.dim() :]
        inputs.append((mask, [FREE if size == 1 else s for size, s in zip(mask.shape, spelled, strict=True)]))
    result, *rest = _tensors(out)
    outputs = [(result, [b, h, q, f]), *((t, [WHOLE] * t.dim()) for t in rest)]
    flow.align(func, inputs, outputs)
    # Torch's counter sees only some of these operators; all do the same two products.
    first, second, third = (flow.register(t) for t in (query, key, value))
    for deep in ([first, 3], [third, 3]):
        flow.item(MACS, [[first, 0], [first, 1], [first, 2], [second, 2], deep])


def _batch_norm(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x, *rest = _tensors((args, kwargs))
    result, *saved = _tensors(out)
    letters = range(x.dim())
    inputs = [(x, letters), *((t, [1]) for t in rest if t.dim() == 1)]
    flow.align(func, inputs, [(result, letters), *((t, [1]) for t in saved if t.shape == x.shape[1:2])])


def _layer_norm(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x, *rest = _tensors((args, kwargs))
    result = _tensors(out)[0]
    inputs = [(x, range(x.dim())), *((t, _broadcast(t, x)) for t in rest)]
    flow.align(func, inputs, [(result, range(x.dim()))])


def _group_norm(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    bound = _bound(func, args, kwargs)
    x = bound["input"]
    axis = [flow.register(x), 1]
    flow.steps.append({"step": "group", "axis": axis, "groups": bound["group"], "member": None})
    letters = range(x.dim())
    scales = [(t, [1]) for t in (bound["weight"], bound["bias"]) if t is not None]
    flow.align(func, [(x, letters), *scales], [(_tensors(out)[0], letters)])


def _embedding(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    weight, indices = args[0], args[1]
    batch = list(range(indices.dim()))
    flow.align(func, [(weight, [WHOLE, len(batch)]), (indices, batch)], [(out, [*batch, len(batch)])])
    if flow.is_weight(weight):
        flow.layer([flow.register(weight), 1], None)


def _spatial(n: int) -> Rule:
    """Pooling, resizing and padding of the last `n` dimensions."""

    def rule(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        x = args[0]
        letters = [*range(x.dim() - n), *[WHOLE] * n]
        flow.align(func, [(x, letters)], [(t, letters) for t in _tensors(out)])

    return rule


def _view(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    if func is aten.view.dtype:
        _unknown(flow, func, args, kwargs, out)
        return
    flow.view(func, flow.register(x), flow.register(out))
    flow.same_weight(x, out)


def _permuted(flow: DataFlow, func: Any, x: Tensor, dims: Sequence[int], out: Tensor) -> None:
    flow.align(func, [(x, range(x.dim()))], [(out, [dim % x.dim() for dim in dims])])
    flow.same_weight(x, out)


def _permute(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    _permuted(flow, func, args[0], args[1], out)


def _transpose(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    dims = list(range(args[0].dim()))
    a, b = args[1], args[2]
    dims[a], dims[b] = dims[b], dims[a]
    _permuted(flow, func, args[0], dims, out)


def _t(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    _permuted(flow, func, args[0], range(args[0].dim())[::-1], out)


def _expand(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    given = _broadcast(x, out)
    skip = out.dim() - x.dim()
    result = [dim if dim >= skip and given[dim - skip] == dim else WHOLE for dim in range(out.dim())]
    flow.align(func, [(x, given)], [(out, result)])
    flow.same_weight(x, out)


def _repeat(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    skip = out.dim() - x.dim()
    stays = [x.shape[i] == out.shape[skip + i] for i in range(x.dim())]
    given = [skip + i if same else FREE if x.shape[i] == 1 else WHOLE for i, same in enumerate(stays)]
    flow.align(func, [(x, given)], [(out, [*[WHOLE] * skip, *(letter if letter >= 0 else WHOLE for letter in given)])])


def _squeeze(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    dims = args[1] if len(args) > 1 else range(x.dim())
    dims = [dims] if isinstance(dims, int) else list(dims)
    gone = {dim % x.dim() for dim in dims if x.shape[dim] == 1} if x.dim() else set()
    flow.align(func, [(x, range(x.dim()))], [(out, [d for d in range(x.dim()) if d not in gone])])
    flow.same_weight(x, out)


def _unsqueeze(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x, dim = args
    letters = list(range(x.dim()))
    letters.insert(dim % out.dim(), WHOLE)
    flow.align(func, [(x, range(x.dim()))], [(out, letters)])
    flow.same_weight(x, out)


def _dropping(flow: DataFlow, func: Any, x: Tensor, dim: int, out: Any) -> None:
    """One index of a dimension, which the result has no more."""
    letters = list(range(x.dim()))
    letters[dim] = WHOLE
    kept = [letter for letter in letters if letter >= 0]
    flow.align(func, [(x, letters)], [(t, kept) for t in _tensors(out)])


def _select(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    _dropping(flow, func, args[0], args[1] % args[0].dim(), out)


def _unbind(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    dim = args[1] if len(args) > 1 else 0
    _dropping(flow, func, args[0], dim % args[0].dim(), out)


def _holding(flow: DataFlow, func: Any, x: Tensor, dims: Sequence[int], out: Any) -> None:
    """Some dimensions are needed whole, the others stay."""
    whole = {dim % x.dim() for dim in dims}
    letters = [WHOLE if dim in whole else dim for dim in range(x.dim())]
    flow.align(func, [(x, letters)], [(t, letters) for t in _tensors(out)])


def _slice(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x, dim = args[0], args[1] if len(args) > 1 else 0
    if x.shape == out.shape:
        flow.align(func, [(x, range(x.dim()))], [(out, range(x.dim()))])
        flow.same_weight(x, out)
    else:
        _holding(flow, func, x, [dim], out)


def _rolled(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    dims = args[-1] if len(args) > 1 else ()
    if func._overloadpacket is aten.roll and len(args) < 3:
        dims = range(args[0].dim())
    _holding(flow, func, args[0], dims, out)


def _index_select(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    _holding(flow, func, args[0], [args[1]], out)


def _pad(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    _holding(flow, func, x, [dim for dim in range(x.dim()) if x.shape[dim] != out.shape[dim]], out)


def _index(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x, indices = args[0], args[1]
    at = [dim for dim, index in enumerate(indices) if index is not None]
    if not at or at != list(range(at[0], at[-1] + 1)):
        _unknown(flow, func, args, kwargs, out)
        return
    first, last = at[0], at[-1] + 1
    letters = [WHOLE if first <= dim < last else dim for dim in range(x.dim())]
    n_new = out.dim() - (x.dim() - len(at))
    flow.align(func, [(x, letters)], [(out, [*letters[:first], *[WHOLE] * n_new, *letters[last:]])])


def _cat(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    pieces = [t for t in args[0] if t.shape != (0,)]
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
    given = [flow.register(t) for t in pieces]
    step = {"step": "cat", "from": given, "to": flow.register(out), "dim": dim, "operator": flow.operator(func)}
    flow.steps.append(step)


def _stack(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
    letters = list(range(out.dim() - 1))
    result = letters.copy()
    result.insert(dim, WHOLE)
    flow.align(func, [(t, letters) for t in args[0]], [(out, result)])


def _split(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    dim = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % x.dim()
    pieces = [flow.register(t) for t in out]
    step = {"step": "split", "from": flow.register(x), "to": pieces, "dim": dim, "operator": flow.operator(func)}
    flow.steps.append(step)


def _glu(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x = args[0]
    dim = (args[1] if len(args) > 1 else -1) % x.dim()
    given, made = flow.register(x), flow.register(out)
    step = {"step": "split", "from": given, "to": [made, made], "dim": dim, "operator": flow.operator(func)}
    flow.steps.append(step)


def _channel_shuffle(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    x, groups = args
    n, channels, *rest = x.shape
    before = flow.phantom([n, groups, channels // groups, *rest])
    flow.view(func, flow.register(x), before)
    made = flow.phantom([n, channels // groups, groups, *rest])
    letters = list(range(len(rest) + 3))
    flow.align(func, [(before, letters)], [])
    step = flow.steps[-1]
    step["tensors"].append(made)
    step["letters"].append([0, 2, 1, *letters[3:]])
    step["made"] = made
    flow.view(func, made, flow.register(out))


def _reduce(flow: DataFlow, func: Any, args: Any, kwargs: Any, out: Any) -> None:
    bound = _bound(func, args, kwargs)
    x = next(t for t in _tensors(args))
    dims = bound.get("dim")
    if dims is None or dims == []:
        dims = range(x.dim())
    dims = {dim % x.dim() for dim in ([dims] if isinstance(dims, int) else dims)} if x.dim() else set()
    given = [FREE if dim in dims else dim for dim in range(x.dim())]
    kept = [WHOLE if letter == FREE else letter for letter in given] if bound.get("keepdim") else None
    result = kept if kept is not None else [letter for letter in given if letter >= 0]
    flow.align(func, [(x, given)], [(t, result) for t in _tensors(out) if t.dim() == len(result)])


def _table() -> dict[Any, Rule]:
    rules: dict[str, Rule] = {
        "convolution": _convolution,
        "mm": _mm,
        "bmm": _mm,
        "addmm": _addmm,
        "baddbmm": _addmm,
        "mv": _mv,
        "linear": _linear,
        "embedding": _embedding,
        "native_layer_norm": _layer_norm,
        "_fused_rms_norm": _layer_norm,
        "native_group_norm": _group_norm,
        "permute": _permute,
        "transpose": _transpose,
        "t": _t,
        "expand": _expand,
        "repeat": _repeat,
        "squeeze": _squeeze,
        "unsqueeze": _unsqueeze,
        "select": _select,
        "unbind": _unbind,
        "slice": _slice,
        "roll": _rolled,
        "flip": _rolled,
        "index": _index,
        "index_select": _index_select,
        "constant_pad_nd": _pad,
        "cat": _cat,
        "stack": _stack,
        "split": _split,
        "split_with_sizes": _split,
        "unsafe_split": _split,
        "glu": _glu,
        "channel_shuffle": _channel_shuffle,
        "native_channel_shuffle": _channel_shuffle,
    }
    for name in ("view", "_unsafe_view", "reshape", "_reshape_alias"):
        rules[name] = _view
    for name in (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_fused_attention_overrideable",
        "_scaled_dot_product_attention_math",
        "scaled_dot_product_attention",
    ):
        rules[name] = _attention
    for name in (
        "native_batch_norm",
        "cudnn_batch_norm",
        "miopen_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "_batch_norm_with_update",
        "_batch_norm_no_update",
        "batch_norm",
    ):
        rules[name] = _batch_norm
    for name in (
        "mean sum prod amax amin max min argmax argmin any all var std var_mean logsumexp linalg_vector_norm norm"
    ).split():
        rules[name] = _reduce
    for n in (1, 2, 3):
        for name in (
            f"avg_pool{n}d",
            f"max_pool{n}d",
            f"max_pool{n}d_with_indices",
            f"_adaptive_avg_pool{n}d",
            f"adaptive_avg_pool{n}d",
            f"adaptive_max_pool{n}d",
            f"reflection_pad{n}d",
            f"replication_pad{n}d",
            f"upsample_nearest{n}d",
            f"_upsample_nearest_exact{n}d",
        ):
            rules[name] = _spatial(n)
    rules["upsample_linear1d"] = _spatial(1)
    rules["upsample_trilinear3d"] = _spatial(3)
    for name in ("upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"):
        rules[name] = _spatial(2)
    for name in (
        "_softmax _safe_softmax _log_softmax clone detach alias lift_fresh lift_fresh_copy _to_copy copy_ copy "
        "contiguous cumsum cumprod native_dropout tril triu zeros_like ones_like full_like empty_like rand_like "
        "randn_like fill_ zero_ bernoulli _conj _neg_view hardtanh hardtanh_ hardswish hardswish_ hardsigmoid "
        "hardsigmoid_ leaky_relu leaky_relu_ elu elu_ celu celu_ selu selu_ softplus softshrink hardshrink threshold "
        "threshold_ mish mish_ silu silu_ gelu gelu_ relu relu_ relu6 log_sigmoid_forward rrelu_with_noise "
        "_prelu_kernel dropout_ masked_fill masked_fill_ _masked_softmax"
    ).split():
        rules[name] = _elementwise
    for name in ("empty", "new_zeros", "new_ones", "new_full", "new_empty", "_local_scalar_dense"):
        rules[name] = _constant
    return {getattr(aten, name): rule for name, rule in rules.items() if hasattr(aten, name)}


#: What each operator does; operators tagged as pointwise need no entry.
RULES: dict[Any, Rule] = _table()


# What the operators that most of a network is made of return on fake tensors, in the plain case. Torch finds these
# shapes by decompositions that take longer than all the rest of a trace. None: torch is asked, and says what is wrong.


def _made(flow: DataFlow, like: Tensor, shape: Sequence[int]) -> Tensor:
    with no_dispatch():
        return FakeTensor(flow.mode, torch.empty(shape, dtype=like.dtype, device="meta"), like.device)


def _plain_fake(tensor: Any) -> bool:
    return isinstance(tensor, FakeTensor) and tensor.is_contiguous()


def _in_order(weight: Tensor) -> bool:
    """Whether it is contiguous or cut out of what is; another memory format would be that of the output too."""
    strides = weight.stride()
    return all(before >= after for before, after in itertools.pairwise(strides))


def _convolution_shape(flow: DataFlow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, weight, _, stride, padding, dilation, transposed, _, groups = args
    size, kernel = x.shape, weight.shape
    if transposed or len(size) != len(kernel) or size[1] != kernel[1] * groups or kernel[0] % groups:
        return None
    if x.dtype != weight.dtype or not _plain_fake(x) or not _in_order(weight):
        return None
    shape = [size[0], kernel[0]]
    for i in range(len(size) - 2):
        s, p, d = (values[i if len(values) > 1 else 0] for values in (stride, padding, dilation))
        shape.append((size[2 + i] + 2 * p - d * (kernel[2 + i] - 1) - 1) // s + 1)
    return _made(flow, x, shape) if min(shape) > 0 else None


def _addmm_shape(flow: DataFlow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    bias, x, weight = args
    if kwargs or not _plain_fake(x) or x.dim() != 2 or weight.dim() != 2 or bias.shape != weight.shape[1:]:
        return None
    if x.shape[1] != weight.shape[0] or not x.dtype == weight.dtype == bias.dtype:
        return None
    return _made(flow, x, (x.shape[0], weight.shape[1]))


def _batch_norm_shape(flow: DataFlow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x = args[0]
    if not _plain_fake(x):
        return tuple(torch.empty_like(x) if i == 0 else x.new_empty(0) for i in range(3))
    return _made(flow, x, x.shape), flow.nothing(x), flow.nothing(x)


def _empty_shape(flow: DataFlow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A batch norm makes an empty tensor for its own use."""
    if args[0] != [0] or kwargs.keys() - {"dtype", "device", "layout", "pin_memory"}:
        return None
    with no_dispatch():
        elements = torch.empty(0, dtype=kwargs.get("dtype"), device="meta")
        return FakeTensor(flow.mode, elements, torch.device(kwargs.get("device") or "cpu"))


def _same_shape(flow: DataFlow, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, rest = args[0], args[1:]
    if kwargs or not _plain_fake(x) or not x.is_floating_point():
        return None
    for other in rest:
        if isinstance(other, Tensor) and not (
            _plain_fake(other) and other.shape == x.shape and other.dtype == x.dtype and other.device == x.device
        ):
            return None
    return x if func._schema.is_mutable else _made(flow, x, x.shape)


SHAPES: dict[Any, Callable[[DataFlow, Any, tuple[Any, ...], dict[str, Any]], Any]] = {
    aten.convolution: _convolution_shape,
    aten.addmm: _addmm_shape,
    aten.native_batch_norm: _batch_norm_shape,
    aten.empty: _empty_shape,
    **{
        getattr(aten, name): _same_shape
        for name in (
            "relu relu_ hardtanh hardtanh_ relu6 silu silu_ hardswish hardswish_ hardsigmoid hardsigmoid_ gelu "
            "sigmoid sigmoid_ add add_ mul"
        ).split()
    },
}


def holder_names(module: nn.Module) -> list[tuple[str, Tensor, bool]]:
    """Name and tensor of a module's own parameters (True) and buffers (False)."""
    own = [(name, t, True) for name, t in module._parameters.items() if t is not None]
    return own + [(name, t, False) for name, t in module._buffers.items() if t is not None]
