"""Results on disk: JSON data with its content's hash, tensors beside it. Nothing of it is code.

`result.json` holds the outputs with every tensor and file replaced by its SHA-256, so it is the content itself: equal
results are equal files. Stages always get what was read from here, whether it was computed now or last week.
"""

from __future__ import annotations

import hashlib
import json
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modularnas.errors import PipelineError

__all__ = ["decode", "encode", "read_result", "write_atomically", "write_result"]

_RESULT, _TENSORS = "result.json", "tensors.pt"


def encode(value: Any, *, where: str, folder: Path | None) -> tuple[Any, dict[str, Tensor]]:
    """A value as JSON data, and its tensors by their hash.

    Args:
        value: data, tensors, arrays, mappings, sequences, paths.
        where: for messages.
        folder: paths inside of it are stored relative to it, with a hash of what they hold.

    Raises:
        PipelineError: for a value that is no data.
    """
    tensors: dict[str, Tensor] = {}

    def of(value: Any, where: str) -> Any:
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, Tensor):
            tensor = value.detach().cpu()
            digest = _hash_tensor(tensor)
            tensors[digest] = tensor.clone(memory_format=torch.contiguous_format)
            return {"$tensor": digest}
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject or value.dtype.kind in "US":
                return of(value.tolist(), where)
            return {"$array": of(torch.from_numpy(np.ascontiguousarray(value)), where)["$tensor"]}
        if isinstance(value, (np.generic,)):
            return value.item()
        if isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, numbers.Real):
            return float(value)
        if isinstance(value, Path):
            if folder is not None and value.absolute().is_relative_to(folder.absolute()):
                relative = value.absolute().relative_to(folder.absolute())
                return {"$path": relative.as_posix(), "sha256": _hash_path(value, where)}
            return str(value)
        if isinstance(value, Mapping):
            items = {}
            for key, part in value.items():
                if not isinstance(key, str):
                    raise PipelineError(f"{where} has the key {key!r}; expected text as keys")
                items[key] = of(part, f"{where}[{key!r}]")
            return {"$dict": items} if any(key.startswith("$") for key in items) else items
        if isinstance(value, (list, tuple, set, frozenset)):
            parts = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
            return [of(part, f"{where}[{i}]") for i, part in enumerate(parts)]
        raise PipelineError(
            f"{where} is a {type(value).__name__}; expected data, tensors or paths. "
            "Of a network return its state_dict(), or write it into `folder` with mn.export and return the path"
        )

    return of(value, where), tensors


def decode(value: Any, tensors: Mapping[str, Tensor], folder: Path) -> Any:
    """The value of an encoded one."""
    if isinstance(value, list):
        return [decode(part, tensors, folder) for part in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]].clone()  # equal tensors are stored once, but are not one
    if "$array" in value:
        return tensors[value["$array"]].numpy().copy()
    if "$path" in value:
        return folder / value["$path"]
    return {key: decode(part, tensors, folder) for key, part in value.get("$dict", value).items()}


def write_result(folder: Path, stage: str, key: str, outputs: Any, about: Mapping[str, Any]) -> None:
    """Stores the outputs of a stage, all or nothing."""
    if outputs is None:
        outputs = {}
    if not isinstance(outputs, Mapping):
        raise PipelineError(f"stage '{stage}' returned a {type(outputs).__name__}; expected a dict of results")
    encoded, tensors = {}, {}
    for name, value in outputs.items():
        if not isinstance(name, str):
            raise PipelineError(f"stage '{stage}' returned the key {name!r}; expected text as keys")
        encoded[name], found = encode(value, where=f"the output '{stage}.{name}'", folder=folder)
        tensors.update(found)
    if tensors:
        with write_atomically(folder / _TENSORS) as path:
            torch.save(tensors, path)
    result = {"format": 1, "key": key, "outputs": encoded, "tensors": sorted(tensors), **about}
    with write_atomically(folder / _RESULT) as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


class Stored:
    """A stored result.

    Attributes:
        key: what it depended on.
        outputs: encoded.
        wall_s: how long the stage ran, in seconds.
    """

    def __init__(self, folder: Path, result: Mapping[str, Any]) -> None:
        self.folder = folder
        self.key: str = result["key"]
        self.outputs: dict[str, Any] = result["outputs"]
        self.wall_s = float(result.get("wall_s", 0))
        self._tensors: list[str] = result["tensors"]

    def encoded(self, path: tuple[str, ...]) -> Any:
        """The part of it that a path of keys leads to, encoded.

        Raises:
            KeyError: with the key that is not there, and those that are.
        """
        value: Any = self.outputs
        for key in path:
            inner = value.get("$dict", value) if isinstance(value, dict) else {}
            if key not in inner:
                raise KeyError(key, [name for name in inner if not name.startswith("$")])
            value = inner[key]
        return value

    def value(self, path: tuple[str, ...] = ()) -> Any:
        """The part of it that a path of keys leads to."""
        return decode(self.encoded(path), self._load(), self.folder)

    def intact(self) -> bool:
        """Whether its tensors and files are what was stored."""
        try:
            tensors = self._load()
            whole = all(_hash_tensor(tensors[digest]) == digest for digest in self._tensors)
            return whole and all(_hash_path(self.folder / p["$path"], "") == p["sha256"] for p in _paths(self.outputs))
        except Exception:  # whatever torch says of a damaged file
            return False

    def _load(self) -> dict[str, Tensor]:
        if not self._tensors:
            return {}
        return torch.load(self.folder / _TENSORS, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


def read_result(folder: Path) -> Stored | None:
    """The stored result of a stage; None if there is none that can be read."""
    try:
        return Stored(folder, json.loads((folder / _RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class write_atomically:
    """A temporary path that becomes the given one when the block ends well, durable on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.temporary

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self.temporary.unlink(missing_ok=True)
            return
        with open(self.temporary, "rb") as file:
            os.fsync(file.fileno())
        self.temporary.replace(self.path)


def _hash_tensor(tensor: Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    flat = tensor.detach().contiguous().reshape(-1)
    if flat.numel():
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _hash_path(path: Path, where: str) -> str:
    """Of a file its content, of a folder all files in it with their names."""
    digest = hashlib.sha256()
    if path.is_file():
        digest.update(path.read_bytes())
    elif path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts):
            digest.update(f"{file.relative_to(path).as_posix()} {_hash_path(file, where)}\n".encode())
    else:
        raise PipelineError(f"{where} is the path '{path}', which does not exist")
    return digest.hexdigest()


def _paths(value: Any) -> list[dict[str, str]]:
    if isinstance(value, list):
        return [path for part in value for path in _paths(part)]
    if not isinstance(value, dict):
        return []
    return [value] if "$path" in value else [path for part in value.values() for path in _paths(part)]
