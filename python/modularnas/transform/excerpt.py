"""Excerpts: the source of functions and classes that are not torch's, with everything that they name.

A forward that `torch.fx` cannot trace is copied as it was written: its source is read through `inspect`, names that it
takes from its module are imported where torch or Python's own library has them, and copied where another package or
the user's file has them, and so on. What has no source, closes over variables, or needs another package is refused.
"""

from __future__ import annotations

import ast
import builtins
import dis
import enum
import functools
import inspect
import math
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import fx, nn

from modularnas.errors import ExportError

__all__ = ["ALONE", "Excerpts", "asks_whether_it_trains", "torch_class"]

#: What a reader of the source has: torch, and the library of Python.
ALONE = frozenset({"torch", *sys.stdlib_module_names}) - {"__main__"}
#: A call that only tells torchvision's authors what is used.
_NOISE = "_log_api_usage_once"
#: Attributes that every module has, and what torch's machinery adds.
_INTERNAL = frozenset({*vars(nn.Module()), "training"})


class Excerpts:
    """Definitions that a source needs besides its modules.

    Attributes:
        imports: import statements.
        definitions: source of copied functions, classes and constants, by the name that they have.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self.imports: set[str] = set()
        self.definitions: dict[str, str] = {}
        self._taken = set(taken)
        self._names: dict[int, str] = {}
        self._constants: dict[str, str] = {}
        self._read: set[str] = set()
        self._kept: list[Any] = []  # an id is unique only while its object lives

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Takes back what was imported and copied for something that could not be written in the end."""
        parts: tuple[Any, ...] = (self.imports, self.definitions, self._taken, self._names, self._constants, self._read)
        before = [part.copy() for part in parts]
        try:
            yield
        except ExportError:
            for part, kept in zip(parts, before, strict=True):
                part.clear()
                part.update(kept)
            raise

    def free(self, name: str) -> str:
        """A name that nothing has yet, for something to be defined."""
        number, free = 1, name
        while free in self._taken:
            number += 1
            free = f"{name}{number}"
        self._taken.add(free)
        return free

    def name_of(self, value: Any, wanted: str) -> str:
        """The name under which the source has a function, class or module; it is imported or copied at need.

        Raises:
            ExportError: if it is neither torch's nor Python's and its source cannot be copied.
        """
        if id(value) in self._names:
            return self._names[id(value)]
        if inspect.ismodule(value):
            return self._import(value, value.__name__, None, wanted)
        home, qualified = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if getattr(builtins, wanted, None) is value:
            return wanted
        if home and qualified and _from(home, qualified) is value and home.partition(".")[0] in ALONE:
            outer, _, rest = qualified.partition(".")
            name = self._import(_from(home, outer), home, outer, outer)
            return f"{name}.{rest}" if rest else name
        if wanted in vars(types) and vars(types)[wanted] is value:
            return self._import(value, "types", wanted, wanted)
        if isinstance(value, (FunctionType, type)):
            return self._copy(value)
        raise ExportError(f"{_described(value)} is neither torch's nor Python's, and no function or class")

    def expression(self, value: Any, where: str) -> str:
        """An expression for a plain value, or for a function or class that is imported or copied."""
        text = _scalar(value)
        if text is not None:
            return text
        if isinstance(value, functools.partial):
            self.imports.add("import functools")
            parts = [self.expression(part, where) for part in (value.func, *value.args)]
            parts += [f"{key}={self.expression(part, where)}" for key, part in value.keywords.items()]
            return f"functools.partial({', '.join(parts)})"
        if type(value) is dict:
            items = (f"{self.expression(k, where)}: {self.expression(v, where)}" for k, v in value.items())
            return f"{{{', '.join(items)}}}"
        if type(value) in (tuple, torch.Size, list, set):
            inside = ", ".join(self.expression(part, where) for part in value)
            if type(value) is list:
                return f"[{inside}]"
            if type(value) is set:
                return f"{{{inside}}}" if inside else "set()"
            return f"({inside},)" if len(value) == 1 else f"({inside})"
        if isinstance(value, enum.Enum):
            return f"{self.name_of(type(value), type(value).__name__)}.{value.name}"
        if callable(value) or inspect.ismodule(value):
            return self.name_of(value, getattr(value, "__name__", "value"))
        raise ExportError(f"{where} is a {type(value).__name__}, which has no plain source")

    def members(self, module: nn.Module) -> tuple[str, type[nn.Module], dict[str, str]]:
        """A module's class as copied source.

        Returns:
            The source of its methods, the class of torch's that it builds on, and an expression for each attribute.
        """
        cls = type(module)
        base = next(c for c in cls.__mro__ if torch_class(c))
        own = [c for c in cls.__mro__[: cls.__mro__.index(base)] if c is not object]
        methods: dict[str, str] = {}
        attributes: dict[str, str] = {}
        wanted = ["forward", *self.called_from_outside(module)]
        while wanted:
            name = wanted.pop()
            if name in methods or name in attributes or name in _INTERNAL or _is_part(module, name):
                continue
            if name in vars(module):
                attributes[name] = self.expression(vars(module)[name], f"its attribute '{name}'")
                continue
            holders = [c for c in own if name in vars(c)]
            if not holders:
                continue  # torch's own, or one of another object
            member = inspect.getattr_static(holders[0], name)
            function = member
            if isinstance(member, (staticmethod, classmethod)):
                function = member.__func__
            elif isinstance(member, property):
                function = member.fget
            if not isinstance(function, FunctionType):
                attributes[name] = self.expression(member, f"its attribute '{name}'")
                continue
            called = set(_attributes(function.__code__))
            if "super" in _names(function.__code__) and any(name in vars(c) for c in own if c is not holders[0]):
                raise ExportError(f"its method '{name}' calls that of another class of its own by super()")
            kind = "" if function is member else f"@{type(member).__name__}\n"
            methods[name] = kind + self._source(function, function.__name__)
            wanted.extend(called)
            self._read |= called
        for name in vars(module).keys() - attributes.keys() - _INTERNAL if base is not nn.Module else ():
            # What methods of torch's read of a module is not known, so it gets everything that is plain.
            with suppress(ExportError):
                attributes[name] = self.expression(vars(module)[name], name)
        return "\n\n".join(methods[name] for name in sorted(methods)), base, dict(sorted(attributes.items()))

    def called_from_outside(self, module: nn.Module) -> list[str]:
        """Methods of a module that what was copied so far may call."""
        own = [c for c in type(module).__mro__ if not torch_class(c) and c is not object]
        methods = {name for c in own for name, member in vars(c).items() if isinstance(member, FunctionType)}
        return sorted(name for name in (methods & self._read) - {"forward"} if not hasattr(nn.Module, name))

    def _import(self, value: Any, home: str, attribute: str | None, wanted: str) -> str:
        if home.partition(".")[0] not in ALONE:
            raise ExportError(f"it needs the package '{home.partition('.')[0]}'")
        if value is torch:
            return "torch"
        if value is nn:
            return "nn"
        name = self.free(wanted.rpartition(".")[2])
        if attribute is None:
            parent, _, last = home.rpartition(".")
            line = f"from {parent} import {last}" if parent else f"import {last}"
            self.imports.add(line if last == name else f"{line} as {name}")
        elif home != "builtins":
            self.imports.add(f"from {home} import {attribute}" + ("" if attribute == name else f" as {name}"))
        self._remember(value, name)
        return name

    def _remember(self, value: Any, name: str) -> None:
        self._names[id(value)] = name
        self._kept.append(value)

    def _copy(self, value: FunctionType | type) -> str:
        if isinstance(value, type) and issubclass(value, nn.Module):
            raise ExportError(f"it names the class {_described(value)} of modules")
        name = self.free(value.__name__)
        self._remember(value, name)  # before its body, which may name it
        self.definitions[name] = self._source(value, name)
        return name

    def _source(self, value: FunctionType | type, name: str) -> str:
        """The source of a function or class under a name; what it names is imported or copied."""
        if getattr(value, "__wrapped__", None) is not None:
            raise ExportError(f"{_described(value)} is wrapped by a decorator")
        if isinstance(value, FunctionType) and set(value.__code__.co_freevars) - {"__class__"}:
            raise ExportError(f"{_described(value)} closes over variables")
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
        except (OSError, TypeError, SyntaxError) as error:
            raise ExportError(f"{_described(value)} has no source") from error
        (definition,) = tree.body if len(tree.body) == 1 else (None,)
        if not isinstance(definition, (ast.FunctionDef, ast.ClassDef)):
            raise ExportError(f"{_described(value)} is no plain definition")
        # Whatever decorated it gave it back as it was, or it would be another object.
        definition.decorator_list = []
        _Silent().visit(definition)
        for node in ast.walk(definition):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                node.returns = None
                every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                for argument in (*every, node.args.vararg, node.args.kwarg):
                    if argument is not None:
                        argument.annotation = None
        known = _globals_of(value)
        renamed: dict[str, str] = {definition.name: name}
        for used in sorted(_names(compile(tree, "<excerpt>", "exec")) - {definition.name}):
            if used in known:
                renamed[used] = self._global(used, known[used], value)
        definition.name = name
        return ast.unparse(_Renamed(renamed).visit(definition))

    def _global(self, used: str, value: Any, by: Any) -> str:
        try:
            if inspect.ismodule(value) or callable(value):
                return self.name_of(value, used)
            text = self.expression(value, f"'{used}'")
        except ExportError as error:
            raise ExportError(f"{_described(by)} names {used}: {error}") from error
        key = f"{used} = {text}"
        if key not in self._constants:
            name = self._constants[key] = self.free(used)
            self.definitions[name] = f"{name} = {text}"
        return self._constants[key]


def _scalar(value: Any) -> str | None:
    """A number, a text or one of torch's constants as an expression; None if it is none."""
    if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
        return str(value)
    if isinstance(value, torch.device):
        return f"torch.{value!r}"
    if type(value) is float and not math.isfinite(value):
        return f"float('{value}')"
    if type(value) in (bool, int, float, str, bytes, type(None), complex):
        return repr(value)
    return "..." if value is Ellipsis else None


class _Silent(ast.NodeTransformer):
    """Takes out noise."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Statements that are such a call."""
        call = node.value
        noise = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == _NOISE
        return None if noise else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Conditions of nothing else."""
        self.generic_visit(node)
        return node if node.body or node.orelse else None


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Another name in its place."""
        if isinstance(node.ctx, ast.Load) and self.names.get(node.id, node.id) != node.id:
            return ast.copy_location(ast.parse(self.names[node.id], mode="eval").body, node)
        return node


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _named(code: CodeType, operations: Iterable[str]) -> set[str]:
    return {
        instruction.argval
        for inner in _codes(code)
        for instruction in dis.get_instructions(inner)
        if instruction.opname in operations
    }


def _names(code: CodeType) -> set[str]:
    """The names that code takes from outside of it."""
    loaded = _named(code, ("LOAD_GLOBAL", "LOAD_NAME"))
    return loaded - _named(code, ("STORE_NAME",)) - {"__module__", "__qualname__"}


def _attributes(code: CodeType) -> set[str]:
    """The attributes that code reads, of whatever object; constants too, for `getattr(self, "name")`."""
    read = _named(code, ("LOAD_ATTR", "LOAD_METHOD"))
    return read | {c for inner in _codes(code) for c in inner.co_consts if isinstance(c, str) and c.isidentifier()}


def _globals_of(value: FunctionType | type) -> dict[str, Any]:
    if isinstance(value, FunctionType):
        return value.__globals__
    return vars(sys.modules[value.__module__])


def _from(home: str, qualified: str) -> Any:
    try:
        return functools.reduce(getattr, qualified.split("."), sys.modules.get(home))
    except AttributeError:
        return None


def torch_class(cls: type) -> bool:
    """Whether a class is torch's own."""
    return cls.__module__.partition(".")[0] == "torch" and not issubclass(cls, fx.GraphModule)


def asks_whether_it_trains(module: nn.Module) -> bool:
    """Whether a module's forward does something else while training, which a trace would lose."""
    code = getattr(type(module).forward, "__code__", None)
    return code is not None and "training" in _attributes(code)


def _is_part(module: nn.Module, name: str) -> bool:
    return name in module._modules or name in module._parameters or name in module._buffers


def _described(value: Any) -> str:
    return f"{getattr(value, '__module__', None) or '?'}.{getattr(value, '__qualname__', type(value).__name__)}"
