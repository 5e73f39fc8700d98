"""A stage: a function, where its arguments come from, and what tells whether its result is still right."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modularnas.errors import PipelineError
from modularnas.pipeline.execute import resolve
from modularnas.pipeline.near import near
from modularnas.pipeline.result import encode

__all__ = ["GIVEN", "Stage", "fingerprint", "plain"]

#: Arguments that a stage gets by asking for them by name.
GIVEN = ("folder", "checkpoint", "report", "seed")


class Stage:
    """One step of a pipeline.

    The function returns a dict of results: JSON data, tensors, state dicts, NumPy arrays, and paths of what it wrote in
    its folder. It may ask for these arguments by name:

    - `folder`: a `pathlib.Path` of its own that survives a crash;
    - `checkpoint`: `checkpoint.save(**state)` keeps data and tensors, together with the states of the random number
      generators; `checkpoint.load()` gives the last ones back, or None;
    - `report(step, accuracy=0.9, ...)`: metrics over time, for `metrics.jsonl` and TensorBoard;
    - `seed`: the pipeline's.

    Args:
        function: what runs, or where to import it from: `"module:function"` or `"file.py:function"`.
        inputs: argument to `"stage.output"`, deeper as `"stage.output.key"`, or `"stage"` for the whole result.
        arguments: other arguments, by name.
        after: stages that have to be done before, though nothing of them is used.
        outputs: the names of its results, so that a wrong input is found before anything runs. Taken from the return
            annotation if that is a `TypedDict`; None: found out when the stage is done.

    Raises:
        PipelineError: if the function cannot take these arguments.

    Example:
        >>> def train(point, epochs):
        ...     return {"accuracy": 0.1 * epochs * point["width"]}
        >>> mn.Stage(train, inputs={"point": "search.best"}, arguments={"epochs": 3})
        <Stage: train(point=search.best, epochs=3)>
    """

    def __init__(
        self,
        function: Callable[..., Any] | str,
        inputs: Mapping[str, str] | None = None,
        *,
        arguments: Mapping[str, Any] | None = None,
        after: Sequence[str] = (),
        outputs: Sequence[str] | None = None,
    ) -> None:
        self.place = function if isinstance(function, str) else _place(function)
        if isinstance(function, str):
            function = resolve(function)
        if not callable(function):
            raise PipelineError(f"a stage is given a {type(function).__name__}; expected a function")
        self.function = function
        self.inputs = {argument: tuple(source.split(".")) for argument, source in (inputs or {}).items()}
        self.arguments = dict(arguments or {})
        self.after = (after,) if isinstance(after, str) else tuple(after)
        self.outputs = _annotated(function) if outputs is None else tuple(outputs)
        twice = sorted(set(self.inputs) & set(self.arguments))
        if twice:
            raise PipelineError(f"{self.label}: '{twice[0]}' is both an input and an argument")
        try:
            self._parameters = dict(inspect.signature(function).parameters)
            takes_all = any(p.kind is p.VAR_KEYWORD for p in self._parameters.values())
        except (TypeError, ValueError):  # a builtin that does not say
            self._parameters, takes_all = {}, True
        given = [*self.inputs, *self.arguments]
        if not takes_all:
            for argument in given:
                if argument not in self._parameters:
                    raise PipelineError(f"{self.label} has no argument '{argument}'{near(argument, self._parameters)}")
        self.asks = tuple(name for name in GIVEN if name in self._parameters and name not in given)

    @property
    def label(self) -> str:
        """The function's name."""
        inner = self.function
        while isinstance(inner, functools.partial):
            inner = inner.func
        return getattr(inner, "__name__", type(inner).__name__)

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages that have to be done before, each once."""
        return tuple(dict.fromkeys([source[0] for source in self.inputs.values()] + list(self.after)))

    def key(self, name: str, seed: int, inputs: Mapping[str, Any]) -> str:
        """What the result depends on, as one hash: the code, the arguments, the inputs' content."""
        content = {
            "name": name,
            "seed": seed,
            "code": fingerprint(self.function),
            "arguments": {argument: _content(value) for argument, value in self.arguments.items()},
            "inputs": dict(inputs),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def missing(self) -> list[str]:
        """The arguments that the function needs and does not get."""
        given = {*self.inputs, *self.arguments, *self.asks}
        kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return [
            n for n, p in self._parameters.items() if p.default is p.empty and p.kind not in kinds and n not in given
        ]

    def call(self) -> str:
        """What is called with what, as text."""
        parts = [f"{argument}={'.'.join(source)}" for argument, source in self.inputs.items()]
        parts += [f"{argument}={plain(value)!r}" for argument, value in self.arguments.items()]
        return f"{self.label}({', '.join(parts)})"

    def __repr__(self) -> str:
        return f"<Stage: {self.call()}>"


def plain(value: Any) -> Any:
    """An argument for reading: data as it is, an object as its class or name."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return f"<{getattr(value, '__name__', type(value).__name__)}>"
    return value


def fingerprint(function: Any) -> str:
    """A hash of what a function does: its code, defaults, constant surroundings, and what it calls of its own file.

    Moving a function, or comments in it, change nothing. Lists, dicts and objects around it are not looked at: what a
    result depends on should be an argument.
    """
    seen: set[int] = set()

    def of(value: Any) -> Any:
        if isinstance(value, functools.partial):
            return [
                of(value.func),
                [of(part) for part in value.args],
                sorted((k, of(v)) for k, v in value.keywords.items()),
            ]
        if isinstance(value, types.MethodType):
            return [of(value.__func__), type(value.__self__).__qualname__]
        if isinstance(value, types.FunctionType):
            if id(value) in seen:
                return value.__qualname__
            seen.add(id(value))
            cells = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
            called = [value.__globals__.get(name) for name in _names(value.__code__)]
            own = [f for f in called if isinstance(f, types.FunctionType) and f.__module__ == value.__module__]
            return [code(value.__code__), of(value.__defaults__), [of(cell) for cell in cells], [of(f) for f in own]]
        if isinstance(value, type) or callable(value):
            return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        if isinstance(value, tuple):
            return [of(part) for part in value]
        return repr(value) if isinstance(value, (bool, int, float, complex, str, bytes, type(None))) else None

    def code(part: types.CodeType) -> Any:
        constants = [code(c) if isinstance(c, types.CodeType) else _constant(c) for c in part.co_consts]
        return [part.co_code.hex(), constants, list(part.co_names), list(part.co_varnames)]

    return hashlib.sha256(json.dumps(of(function), sort_keys=True, default=str).encode()).hexdigest()


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _names(part: types.CodeType) -> list[str]:
    inner = [name for constant in part.co_consts if isinstance(constant, types.CodeType) for name in _names(constant)]
    return [*part.co_names, *inner]


def _content(value: Any) -> Any:
    """An argument as its content; objects that are no data count by what they are, files of functions by their text."""
    if isinstance(value, str) and re.fullmatch(r".+\.py:\w+", value) and Path(value.rpartition(":")[0]).is_file():
        text = Path(value.rpartition(":")[0]).read_bytes()
        return [value.rpartition("/")[2], hashlib.sha256(text).hexdigest()]
    if callable(value):
        return fingerprint(value)
    if isinstance(value, Path):
        return str(value)
    try:
        return encode(value, where="an argument", folder=None)[0]
    except PipelineError:
        return f"{type(value).__module__}.{type(value).__qualname__}"


def _place(function: Any) -> str | None:
    """Where another process can import a function from; None: nowhere."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    importable = module in sys.modules and module != "__main__" and "<" not in name and bool(name)
    return f"{module}:{name}" if importable else None


def _annotated(function: Any) -> tuple[str, ...] | None:
    try:
        returned = typing.get_type_hints(function).get("return")
    except (TypeError, NameError):
        return None
    return tuple(typing.get_type_hints(returned)) if typing.is_typeddict(returned) else None
