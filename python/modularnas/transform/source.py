"""A network as readable Python source that needs torch alone.

Every module of torch's is written as its constructor call, every `Sequential` as such; every module with a forward of
its own becomes a class whose forward is traced by `torch.fx` one level deep (its children stay calls), so the source
keeps the model's hierarchy. A forward that cannot be traced, or that does something else while training, is copied as
its author wrote it, with the functions that it names. Classes with the same forward are written once. Parameter and
buffer names stay.
"""

from __future__ import annotations

import inspect
import math
import re
import textwrap
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from modularnas.errors import ExportError
from modularnas.transform.excerpt import Excerpts, asks_whether_it_trains, torch_class

__all__ = ["DTYPES", "READ", "OneLevelTracer", "untyped", "write_source"]

#: Parts of every `model.py`.
DTYPES = """\
DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "C64": torch.complex64, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
}"""

READ = '''\
def read_safetensors(path):
    """Name to tensor."""
    data = bytearray(pathlib.Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            low, high = entry["data_offsets"]
            flat = torch.empty(0, dtype=torch.uint8)
            if high > low:
                flat = torch.frombuffer(data, dtype=torch.uint8, offset=start + low, count=high - low)
            tensors[name] = flat.clone().view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors
'''

HEADER = '''\
"""{title}

    net = load()  # trained, in eval mode; needs torch alone
"""

import json
import pathlib
{imports}
import torch
from torch import nn

{dtypes}


class Block(nn.Module):
    """A module made of parts: submodules, parameters, buffers and plain attributes by name."""

    def __init__(self, **parts):
        nn.Module.__init__(self)
        for name, part in parts.items():
            setattr(self, name, part)

'''

FOOTER = '''

def build():
    """The network with fresh weights."""
{body}

{read}


def load(weights=None):
    """The trained network, in eval mode."""
    net = build()
    tensors = read_safetensors(weights or pathlib.Path(__file__).with_name("weights.safetensors"))
{besides}    net.load_state_dict(tensors, assign=True)
{ties}    return net.eval()
'''

#: Names that `torch.fx` uses in its code without qualifying them, and what they stand for.
_FX_NAMES = {
    "inf": "from math import inf",
    "nan": "from math import nan",
    "NoneType": "from types import NoneType",
    "device": "from torch import device",
}
_TAKEN = {"torch", "nn", "json", "pathlib", "Block", "DTYPES", "build", "load", "read_safetensors", "net", *_FX_NAMES}
#: Constants of more elements stand in the file of the weights.
_LEGIBLE = 64
#: Constructor arguments that only say where or how a layer was first filled.
_IGNORED = {"self", "device", "dtype", "_weight", "_freeze", "args", "kwargs"}
_RNN = ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size"]


def write_source(
    net: nn.Module, title: str, given: dict[str, dict[str, Any]], *, copied: bool = False
) -> tuple[str, dict[str, Tensor]]:
    """The source of a module whose `load()` gives the network, and the tensors that it needs besides the state dict.

    Args:
        net: the network, in eval mode.
        title: the first line of the docstring.
        given: for each path, the non-tensor arguments that its forward gets, by name.
        copied: whether to copy forwards rather than to trace them.

    Raises:
        ExportError: naming the module that cannot be written.
    """
    writer = _Writer(given, copied)
    expression = writer.module(net, "", 1)
    ties = "".join(f"    {line}\n" for line in writer.ties(net))
    header = HEADER.format(
        title=title,
        dtypes=DTYPES,
        imports="".join(f"{line}\n" for line in sorted(writer.excerpts.imports, reverse=True)),
    )
    definitions = "".join(f"\n{source}\n\n" for source in writer.excerpts.definitions.values())
    body = f"    return {expression}\n"
    besides = "".join(
        f"    {_access(path.rpartition('.')[0])}._buffers[{path.rpartition('.')[2]!r}] = tensors.pop({path!r})\n"
        for path in writer.besides
    )
    footer = FOOTER.format(body=body, read=READ, besides=besides, ties=ties)
    return header + definitions + "".join(writer.classes) + footer, writer.besides


class _Writer:
    def __init__(self, given: dict[str, dict[str, Any]], copied: bool) -> None:
        self.given = given
        self.copied = copied
        self.besides: dict[str, Tensor] = {}
        self.excerpts = Excerpts(_TAKEN)
        self.classes: list[str] = []
        self.names: dict[tuple[str, str, str], str] = {}

    def module(self, module: nn.Module, path: str, depth: int) -> str:
        """The expression that makes a module."""
        cls = type(module)
        if isinstance(module, nn.Sequential) and cls.forward is nn.Sequential.forward:
            return self._container("nn.Sequential", module, path, depth)
        if cls in (nn.ModuleList, nn.ModuleDict):
            return self._container(f"nn.{cls.__name__}", module, path, depth)
        if cls.__module__.startswith("torch.nn.modules"):
            try:
                return _constructor(module, path)
            except ExportError:
                pass  # it is put together from its parts
        return self._block(module, path, depth)

    def _parts(self, module: nn.Module, path: str, depth: int) -> list[tuple[str, str]]:
        return [
            (name, self.module(child, f"{path}.{name}" if path else name, depth + 1))
            for name, child in module._modules.items()
            if child is not None
        ]

    def _container(self, cls: str, module: nn.Module, path: str, depth: int) -> str:
        parts = self._parts(module, path, depth)
        indent = "    " * (depth + 1)
        end = "    " * depth
        if not parts:
            return f"{cls}()"
        if cls != "nn.ModuleDict" and [name for name, _ in parts] == [str(i) for i in range(len(parts))]:
            inner = "".join(f"{indent}{part},\n" for _, part in parts)
            return f"{cls}([\n{inner}{end}])" if cls == "nn.ModuleList" else f"{cls}(\n{inner}{end})"
        inner = "".join(f"{indent}{name!r}: {part},\n" for name, part in parts)
        if cls == "nn.ModuleDict":
            return f"{cls}({{\n{inner}{end}}})"
        self.excerpts.imports.add("from collections import OrderedDict")
        return f"{cls}(OrderedDict({{\n{inner}{end}}}))"

    def _block(self, module: nn.Module, path: str, depth: int) -> str:
        base, body, attributes, constants = self._written(module, path)
        name = self._class(type(module).__name__, base, body)
        parts = self._parts(module, path, depth)
        for key, parameter in module._parameters.items():
            if parameter is not None:
                grad = "" if parameter.requires_grad else ", requires_grad=False"
                parts.append((key, f"nn.Parameter({_empty(parameter)}{grad})"))
            else:
                parts.append((key, "None"))
        buffers = {**module._buffers, **constants}
        for key, buffer in buffers.items():
            if buffer is None:
                parts.append((key, "None"))
            elif key in module._non_persistent_buffers_set or key in constants:
                parts.append(
                    (key, f"nn.Buffer({self._constant(buffer, f'{path}.{key}' if path else key)}, persistent=False)")
                )
            else:
                parts.append((key, f"nn.Buffer({_empty(buffer)})"))
        parts += attributes.items()
        if not parts:
            return f"{name}()"
        indent = "    " * (depth + 1)
        end = "    " * depth
        if all(key.isidentifier() for key, _ in parts):
            inner = "".join(f"{indent}{key}={part},\n" for key, part in parts)
        else:
            items = "".join(f"{indent}    {key!r}: {part},\n" for key, part in parts)
            inner = f"{indent}**{{\n{items}{indent}}},\n"
        return f"{name}(\n{inner}{end})"

    def _constant(self, tensor: Tensor, path: str) -> str:
        if tensor.numel() > _LEGIBLE:
            self.besides[path] = tensor
            return _empty(tensor)
        source = f"torch.tensor({tensor.tolist()!r}, dtype={tensor.dtype})"
        return source.replace("inf", "float('inf')").replace("nan", "float('nan')")

    def _class(self, name: str, base: str, body: str) -> str:
        name = re.sub(r"\W", "", name) or "Module"
        name = "GraphBlock" if name.startswith("GraphModule") else name
        key = (name, base, body)
        if key not in self.names:
            unique = self.names[key] = self.excerpts.free(name)
            # A bare nn.Module, which holds parameters and is not called, has no body of its own.
            written = textwrap.indent(body or "pass", "    ")
            self.classes.append(f"\nclass {unique}({base}):\n{written}\n\n")
        return self.names[key]

    def _written(self, module: nn.Module, path: str) -> tuple[str, str, dict[str, str], dict[str, Tensor]]:
        """Bases and body of a module's class, its plain attributes, and tensors that its forward makes."""
        ways = [self._traced, self._copied]
        if (
            torch_class(type(module))
            or self.copied
            or asks_whether_it_trains(module)
            or self.excerpts.called_from_outside(module)
        ):
            ways.reverse()
        reasons = []
        for way in ways:
            try:
                with self.excerpts.attempt():
                    return way(module, path)
            except ExportError as error:
                reasons.append(str(error))
        place = f"'{path}'" if path else "(the network)"
        raise ExportError(
            f"{place} ({type(module).__name__}) cannot be written as plain source: {'; '.join(sorted(reasons))}"
        )

    def _copied(self, module: nn.Module, path: str) -> tuple[str, str, dict[str, str], dict[str, Tensor]]:
        try:
            body, base, attributes = self.excerpts.members(module)
        except ExportError as error:
            raise ExportError(f"it cannot be copied, {error}") from error
        if base is nn.Module:
            return "Block", body, attributes, {}
        named = f"nn.{base.__name__}" if getattr(nn, base.__name__, None) is base else ""
        named = named or self.excerpts.name_of(base, base.__name__)
        return f"Block, {named}", body or '"""As torch\'s, of these parts."""', attributes, {}

    def _traced(self, module: nn.Module, path: str) -> tuple[str, str, dict[str, str], dict[str, Tensor]]:
        graph, constants = _trace_one_level(module, self.given.get(path, {}))
        code = graph.python_code("self")
        source = re.sub(r"^\s*\n|^torch\.fx\._symbolic_trace\.wrap\(.*\n", "", code.src, flags=re.M)
        source = re.sub(r";  \w+ = .*None$", "", source, flags=re.M)  # fx frees variables early; noise to a reader
        for name, value in code.globals.items():
            if name in _FX_NAMES:
                if not re.search(rf"(?<![.\w]){name}\b", source):
                    continue  # fx names them all
                self.excerpts.imports.add(_FX_NAMES[name])
            elif name not in ("torch", "fx_pytree", "pytree"):
                known = self.excerpts.name_of(value, name)
                if not known.startswith(("torch", "nn")):  # fx calls what a function returns by its name
                    source = re.sub(rf"(?<![.\w]){known}(?=\W)(?!\()", f"{known}_out", source)
                source = re.sub(rf"\b{name}\b", known, source)
        return "Block", textwrap.dedent(source.strip("\n")).rstrip(), {}, constants

    def ties(self, net: nn.Module) -> list[str]:
        """Statements that make shared modules and parameters one again after loading."""
        lines = []
        first: dict[int, str] = {}
        for path, module in net.named_modules(remove_duplicate=False):
            if path and id(module) in first:
                parent, _, name = path.rpartition(".")
                lines.append(f"{_access(parent)}._modules[{name!r}] = {_access(first[id(module)])}")
                continue
            first[id(module)] = path
            for name, parameter in module._parameters.items():
                if parameter is None:
                    continue
                place = f"{path}.{name}" if path else name
                if id(parameter) in first:
                    owner, _, other = first[id(parameter)].rpartition(".")
                    lines.append(f"{_access(path)}._parameters[{name!r}] = {_access(owner)}._parameters[{other!r}]")
                else:
                    first[id(parameter)] = place
        return lines


def _access(path: str) -> str:
    return f"net.get_submodule({path!r})" if path else "net"


def _empty(tensor: Tensor) -> str:
    dtype = "" if tensor.dtype == torch.float32 else f", dtype={tensor.dtype}"
    return f"torch.empty({tuple(tensor.shape)}{dtype})"


def untyped(graph: fx.Graph) -> fx.Graph:
    """Without the annotations of arguments, which fx can write only where they are no strings."""
    for node in graph.nodes:
        node.type = None
    return graph


class OneLevelTracer(fx.Tracer):
    """Traces a module's own forward; its children stay calls."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Every child is one."""
        return True


def _trace_one_level(module: nn.Module, given: dict[str, Any]) -> tuple[fx.Graph, dict[str, Tensor]]:
    if isinstance(module, fx.GraphModule):
        return module.graph, {}
    tracer = OneLevelTracer()
    before = set(module.__dict__)
    try:
        graph = tracer.trace(module, concrete_args=given or None)
    except Exception as error:
        raise ExportError(f"torch.fx cannot trace it, {type(error).__name__}: {error}") from error
    # Tensors that the forward makes anew become attributes of the traced module.
    constants = {
        name: value for name, value in vars(module).items() if name not in before and isinstance(value, Tensor)
    }
    for name in constants:
        delattr(module, name)
    untyped(graph)
    for node in graph.nodes:
        name = re.sub(r"_\d+$", "", str(node.target))
        if node.op == "placeholder" and name in given and node.target != name:
            # fx renames an argument whose value it takes as given, and keeps a default that may be another value.
            node.target, node.args = name, (given[name],)
            node._rename(name)
    return graph, constants


def _constructor(module: nn.Module, path: str) -> str:
    """The constructor call of a layer of torch's."""
    cls = type(module)
    names = _RNN if isinstance(module, nn.RNNBase) else list(inspect.signature(cls.__init__).parameters)
    defaults = {p.name: p.default for p in inspect.signature(cls.__init__).parameters.values()}
    arguments = []
    for name in names:
        if name in _IGNORED:
            continue
        value = _argument(module, name)
        if value is _MISSING:
            if defaults.get(name, inspect.Parameter.empty) is inspect.Parameter.empty:
                raise ExportError(f"'{path}' ({cls.__name__}) does not remember its argument {name!r}")
            continue
        default = defaults.get(name, inspect.Parameter.empty)
        if default is inspect.Parameter.empty:
            arguments.append(_value(value, name, path))
        elif not _equal(default, value, name):
            arguments.append(f"{name}={_value(value, name, path)}")
    public = f"nn.{cls.__name__}" if getattr(nn, cls.__name__, None) is cls else f"{cls.__module__}.{cls.__name__}"
    expression = f"{public}({', '.join(arguments)})"
    _check_layer(module, expression, path)
    return expression


#: Arguments of which torch takes one number for all spatial dimensions.
_SPATIAL = {"kernel_size", "stride", "padding", "output_padding", "dilation"}
_MISSING = object()
_FLAGS: dict[str, Callable[[nn.MultiheadAttention], Any]] = {
    "add_bias_kv": lambda m: m.bias_k is not None,
    "out_proj_bias": lambda m: m.out_proj.bias is not None,
}


def _argument(module: nn.Module, name: str) -> Any:
    if isinstance(module, nn.MultiheadAttention) and name == "bias":
        return module.in_proj_bias is not None
    if name in _FLAGS and isinstance(module, nn.MultiheadAttention):
        return _FLAGS[name](module)
    value = getattr(module, name, _MISSING)
    if name == "bias" and not isinstance(value, bool) and value is not _MISSING:
        return value is not None
    if isinstance(value, (nn.Module, Tensor)):
        return _MISSING
    return value


def _equal(default: Any, value: Any, name: str) -> bool:
    if isinstance(value, tuple) and isinstance(default, int) and len(set(value)) == 1:
        return bool(value[0] == default)
    return type(default) is type(value) and bool(default == value)


def _value(value: Any, name: str, path: str) -> str:
    if (
        name in _SPATIAL
        and isinstance(value, tuple)
        and len(value) > 1
        and all(isinstance(v, int) for v in value)
        and len(set(value)) == 1
    ):
        return repr(value[0])
    if isinstance(value, torch.Size):
        return repr(tuple(value))
    if isinstance(value, (bool, int, float, str, tuple, list, type(None))):
        if isinstance(value, float) and not math.isfinite(value):
            return f"float('{value}')"
        return repr(value)
    raise ExportError(f"'{path}' has the constructor argument {value!r}, which cannot be written as plain source")


def _check_layer(module: nn.Module, expression: str, path: str) -> None:
    """A layer written wrongly would only show as a wrong result much later."""
    with torch.device("meta"):
        again = eval(expression, {"nn": nn, "torch": torch})

    def shapes(m: nn.Module) -> dict[str, torch.Size]:
        return {name: t.shape for name, t in m.state_dict().items()}

    if shapes(again) != shapes(module):
        raise ExportError(f"'{path}' ({type(module).__name__}) is not what its constructor {expression} makes")
