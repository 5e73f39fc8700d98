"""Pipelines described in YAML.

    name: mine
    seed: 0
    settings: {epochs: 10}            # named values, `${epochs}` below; `--set epochs=3` changes them
    smoke: {epochs: 1}                # other values for a run of seconds, `--smoke`
    small: {epochs: 3}                # and for one of minutes, `--small`
    stages:
      train:                          # without `run`, the name of a ready stage
        epochs: ${epochs}             # an argument of the stage's function
      look:
        run: mine.py:look             # or package.module:function; files are found beside the YAML file
        inputs: {accuracy: train.accuracy}
        after: [train]
        outputs: [verdict]            # so that who uses them wrongly is told before anything runs

The schema of a stage is the signature of its function: an unknown key, a missing one, a value of the wrong type is an
error with its line.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Hashable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from modularnas.errors import MissingExtraError, PipelineError
from modularnas.pipeline.execute import resolve
from modularnas.pipeline.near import near
from modularnas.pipeline.pipeline import Pipeline
from modularnas.pipeline.stage import GIVEN, Stage
from modularnas.pipeline.stages import STAGES

__all__ = ["SIZES", "published", "read_pipeline", "schema"]

#: Sections with other values of the settings, for runs of less than full size.
SIZES = ("smoke", "small")

_TOP = {"name": str, "description": str, "seed": int, "settings": dict, **dict.fromkeys(SIZES, dict), "stages": dict}
_STAGE = {"run": str, "inputs": dict, "after": list, "outputs": list}
#: Far more than any pipeline has; a few aliases of aliases are more than any memory holds.
_PARTS = 100_000


def published() -> dict[str, Path]:
    """The pipelines in this package, by name."""
    folder = Path(str(resources.files("modularnas.pipeline") / "published"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_pipeline(
    file: str | Path, *, settings: Mapping[str, Any] | None = None, size: str | None = None
) -> tuple[Pipeline, int]:
    """The pipeline of a YAML file, or of a published one by name, checked; and its seed.

    Args:
        file: a path, or a name of `published()`.
        settings: values instead of those of the file's `settings`.
        size: the name of one of its sections `smoke` and `small`, to use the values there; None: full size.

    Raises:
        PipelineError: for anything wrong, with file and line.
        MissingExtraError: without PyYAML.
    """
    path = published().get(str(file), Path(file))
    if not path.is_file():
        raise PipelineError(f"there is no file '{file}'{near(str(file), published())}")
    return _Reader(path, dict(settings or {}), size).pipeline()


class _Reader:
    """One file being read; every part of the data is known by its path of keys, and so by its line."""

    def __init__(self, path: Path, settings: dict[str, Any], size: str | None) -> None:
        self.path = path
        self.lines: dict[tuple[Any, ...], int] = {}
        data = _load_yaml(path, self.lines)
        self.data = self._typed((), {} if data is None else data, dict, "a mapping with 'stages'")
        self._keys((), self.data, _TOP)
        for key, value in self.data.items():
            self._typed((key,), value, _TOP[key], f"{_TOP[key].__name__}")
        self.settings = dict(self.data.get("settings") or {})
        for section in SIZES:
            for name in self.data.get(section) or {}:
                if name not in self.settings:
                    self._fail((section, name), f"'{name}' is no setting{near(name, self.settings)}")
        if size is not None:
            if size not in self.data:
                raise PipelineError(f"{path} has no section '{size}' with settings for a run of that size")
            self.settings.update(self.data[size] or {})
        for name in settings:
            if name not in self.settings:
                raise PipelineError(f"{path}: '{name}' is no setting{near(name, self.settings)}")
        self.settings.update(settings)

    def pipeline(self) -> tuple[Pipeline, int]:
        described = self.data.get("stages")
        if not described:
            self._fail((), "it has no stages")
        stages = {str(name): self._stage(str(name), body or {}) for name, body in described.items()}
        pipeline = Pipeline(stages, name=self.data.get("name", self.path.stem))
        try:
            pipeline.check()
        except PipelineError as error:
            match = re.match(r"stage '([^']*)'", str(error)) or re.search(r"cycle: (\S+)", str(error))
            self._fail(("stages", match[1]) if match else (), str(error))
        return pipeline, self.data.get("seed", 0)

    def _stage(self, name: str, body: Any) -> Stage:
        at = ("stages", name)
        self._typed(at, body, dict, "a mapping")
        run = body.get("run", name)
        function = self._function((*at, "run") if "run" in body else at, str(run))
        parameters = _parameters(function)
        if "**" not in parameters:
            self._keys(at, body, {**_STAGE, **parameters})
        for key in _STAGE.keys() & body.keys():
            self._typed((*at, key), body[key], _STAGE[key], f"{_STAGE[key].__name__}")
        for key in ("after", "outputs"):
            for i, name in enumerate(body.get(key) or ()):
                if not isinstance(name, str):
                    self._fail((*at, key, i), f"'{key}' names {name!r}; expected a name")
        inputs = {str(argument): str(source) for argument, source in (body.get("inputs") or {}).items()}
        arguments = {}
        for key in body.keys() - _STAGE.keys():
            value = self._filled((*at, key), body[key])
            self._fits((*at, key), value, parameters.get(key, Any))
            arguments[key] = value
        try:
            return Stage(
                function,
                inputs,
                arguments=dict(sorted(arguments.items())),
                after=body.get("after") or (),
                outputs=body.get("outputs"),
            )
        except PipelineError as error:
            match = re.search(r"argument '([^']*)'", str(error))
            inner = (*at, "inputs", match[1]) if match and match[1] in inputs else at
            self._fail(inner, str(error))

    def _function(self, at: tuple[Any, ...], run: str) -> str:
        """Where to import what a stage runs."""
        if run in STAGES:
            return STAGES[run]
        if ":" not in run:
            self._fail(at, f"'{run}' is no ready stage{near(run, STAGES)}, nor 'module:function' or 'file.py:function'")
        place = str(self._beside(run))
        try:
            resolve(place)
        except PipelineError as error:
            self._fail(at, str(error))
        except Exception as error:
            self._fail(at, f"importing '{run}' failed: {type(error).__name__}: {error}")
        return place

    def _filled(self, at: tuple[Any, ...], value: Any) -> Any:
        """A value with settings put in, and files found."""
        if isinstance(value, list):
            return [self._filled((*at, i), part) for i, part in enumerate(value)]
        if isinstance(value, dict):
            return {key: self._filled((*at, key), part) for key, part in value.items()}
        if not isinstance(value, str):
            return value
        name = re.fullmatch(r"\$\{(\w+)\}", value)
        if name is not None:
            if name[1] not in self.settings:
                self._fail(at, f"'{name[1]}' is no setting{near(name[1], self.settings)}")
            return self._beside(self.settings[name[1]])
        return self._beside(value)

    def _beside(self, value: Any) -> Any:
        """`file.py:name`, with a file that lies beside this one."""
        file, colon, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
        beside = self.path.parent / file
        return f"{beside.resolve()}{colon}{name}" if file.endswith(".py") and beside.is_file() else value

    def _keys(self, at: tuple[Any, ...], body: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        for key in body:
            if key not in known:
                place = f"stage '{at[1]}'" if at else "the file"
                self._fail((*at, key), f"{place} has the unknown key '{key}'{near(str(key), known)}")

    def _typed(self, at: tuple[Any, ...], value: Any, kind: type, expected: str) -> Any:
        if not isinstance(value, kind) and value is not None:
            self._fail(at, f"'{'.'.join(map(str, at))}' is {value!r}; expected {expected}")
        return value

    def _fits(self, at: tuple[Any, ...], value: Any, annotation: Any) -> None:
        if not _fits(value, annotation):
            expected = annotation.__name__ if type(annotation) is type else str(annotation)
            self._fail(at, f"'{at[-1]}' is {value!r}; expected {expected}")

    def _fail(self, at: tuple[Any, ...], message: str) -> typing.NoReturn:
        while at and at not in self.lines:
            at = at[:-1]
        raise PipelineError(f"{self.path}, line {self.lines.get(at, 1)}: {message}") from None


def _parameters(place: str) -> dict[str, Any]:
    """The arguments of a function that a file may give, and their annotations; `**` if it takes any."""
    function = resolve(place)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {"**": Any}
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):
        hints = {}
    return {
        "**" if p.kind is p.VAR_KEYWORD else p.name: hints.get(p.name, Any)
        for p in parameters
        if p.name not in GIVEN or p.name == "seed"
    }


def _fits(value: Any, annotation: Any) -> bool:
    """Whether plain data is of an annotated type; what is no plain type fits."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in inner)
    if origin is typing.Literal:
        return value in inner
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation in (str, bool):
        return isinstance(value, annotation)
    if annotation is type(None):
        return value is None
    kinds = origin or annotation
    if isinstance(kinds, type) and issubclass(kinds, Mapping):
        return isinstance(value, dict)
    if isinstance(kinds, type) and issubclass(kinds, Sequence):
        return isinstance(value, list)
    return True


def schema() -> dict[str, Any]:
    """The JSON schema of a pipeline's file, for editors that complete and check YAML."""
    text = {"type": "string"}
    common = {"run": text, "inputs": {"type": "object", "additionalProperties": text},
              "after": {"type": "array", "items": text}, "outputs": {"type": "array", "items": text}}  # fmt: skip
    ready = [
        {
            "if": {"properties": {"run": {"const": name}}, "required": ["run"]},
            "then": {"properties": {**common, **dict(_properties(place))}, "additionalProperties": False},
        }
        for name, place in STAGES.items()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A modularnas pipeline",
        "type": "object",
        "required": ["stages"],
        "additionalProperties": False,
        "properties": {
            "name": text,
            "description": text,
            "seed": {"type": "integer"},
            "settings": {"type": "object"},
            **{section: {"type": "object"} for section in SIZES},
            "stages": {"type": "object", "additionalProperties": {"type": ["object", "null"], "allOf": ready}},
        },
    }


def _properties(place: str) -> Iterator[tuple[str, Any]]:
    names = {int: "integer", float: "number", str: "string", bool: "boolean"}
    for argument, annotation in _parameters(place).items():
        kind = names.get(annotation)
        # A setting may stand in the place of any value.
        yield argument, {"anyOf": [{"type": kind}, {"type": "string", "pattern": r"^\$\{\w+\}$"}]} if kind else {}


def _load_yaml(path: Path, lines: dict[tuple[Any, ...], int]) -> Any:
    """The data of a file; notes the line of every part."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingExtraError('pipelines in YAML need PyYAML: pip install "modularnas[yaml]"') from error

    def fail(line: int, message: str) -> typing.NoReturn:
        raise PipelineError(f"{path}, line {line}: {message}") from None

    def plain(node: Any) -> Any:
        try:
            return loader.construct_object(node)
        except (ArithmeticError, AttributeError, ValueError) as error:  # such as a date of no calendar
            fail(node.start_mark.line + 1, f"'{node.value}' cannot be read: {error}")

    def data(node: Any, at: tuple[Any, ...]) -> Any:
        lines.setdefault(at, node.start_mark.line + 1)
        if len(lines) > _PARTS:
            fail(lines[()], f"it has more than {_PARTS} parts, counting what aliases repeat")
        if isinstance(node, yaml.MappingNode):
            found: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = plain(key_node)
                line = key_node.start_mark.line + 1
                if not isinstance(key, Hashable):
                    fail(line, f"a {type(key).__name__} cannot be a key")
                if key in found:
                    fail(line, f"the key '{key}' is there twice")
                inside = (*at, key)
                lines[inside] = line
                found[key] = data(value_node, inside)
            return found
        if isinstance(node, yaml.SequenceNode):
            return [data(part, (*at, i)) for i, part in enumerate(node.value)]
        return plain(node)

    loader = None
    try:
        loader = _loader()(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        return None if node is None else data(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        fail(mark.line + 1 if mark is not None else 1, f"this is no YAML: {error.problem}")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        fail(1, f"this is no YAML: {error}")
    except RecursionError:
        fail(1, "it is nested too deeply, or contains itself")
    finally:
        if loader is not None:
            loader.dispose()


@functools.cache
def _loader() -> Any:
    """PyYAML's safe loader, which reads 1e-3 as a number too."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
        pass

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
    return Loader
