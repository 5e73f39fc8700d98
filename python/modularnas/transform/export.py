"""Export: a trained network as plain source and weights, proved equal in a fresh process."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import inspect
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from modularnas import _core
from modularnas.errors import ExportError
from modularnas.transform.derive import ARCHITECTURE
from modularnas.transform.excerpt import ALONE
from modularnas.transform.program import PROGRAM_SOURCE, plain, program_of, save_program, write_onnx
from modularnas.transform.source import DTYPES, READ, write_source
from modularnas.transform.supernet import Supernet
from modularnas.transform.trace import Example, call_arguments

__all__ = ["export", "load_export"]

_DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32",
    torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64",
    torch.complex64: "C64", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}  # fmt: skip

#: Run by a fresh interpreter in which this library, safetensors and the packages of the network cannot be imported.
_PROOF = """
import importlib.util, sys, torch
folder, case, *packages = sys.argv[1:]
sys.modules.update(dict.fromkeys(packages))  # None: they cannot be imported
spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)
case = torch.load(case, weights_only=False)
def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [leaf for part in parts for leaf in tensors(part)]

with torch.no_grad():
    leaves = tensors(model.load()(*case["args"], **case["kwargs"]))
assert len(leaves) == len(case["out"]), f"{len(leaves)} tensors instead of {len(case['out'])}"
for found, expected in zip(leaves, case["out"]):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
"""


def export(
    net: nn.Module,
    folder: str | Path,
    *,
    example: Example,
    form: Literal["source", "program"] | None = None,
    formats: str | Sequence[str] = (),
) -> Path:
    """Writes a network as source and weights that need torch alone.

    The folder gets `model.py` (readable source; its `load()` returns the trained network), `weights.safetensors` and
    `architecture.json` (the point, the space, its costs, versions, and the form). Before anything is put there, a fresh
    Python process that can import torch but not this library loads it and must give the same outputs on `example`.

    A network that has no plain source (it needs another package's classes, say) is written as a program of
    `torch.export`, in `program.pt2` beside a `model.py` that loads it; `architecture.json` and `model.py` say why.
    Outputs of other libraries' classes come back as a dict whose items are attributes as well. Source that is copied
    stays under the licence of its authors.

    Args:
        net: a trained network, such as one from `mn.derive`.
        folder: where to write; made if missing, the files of an export there are replaced.
        example: an input: a tensor, a tuple of arguments, or a dict of keyword arguments.
        form: `"source"` or `"program"`; None: source, and a program if there is no source.
        formats: what to write besides: `"torch"` (`program.pt2` with its weights, for `torch.export.load`), `"onnx"`
            (`model.onnx`; run by onnxruntime if that is installed, else checked by onnx).

    Returns:
        The folder.

    Raises:
        ExportError: if the network cannot be written (naming the module), or the outputs differ.
        MissingExtraError: for ONNX without the extra `onnx`.

    Example:
        >>> import tempfile
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(path.name for path in mn.export(net, folder, example=torch.randn(1, 3, 8, 8)).iterdir())
        ['architecture.json', 'model.py', 'weights.safetensors']
    """
    if isinstance(net, Supernet):
        raise ExportError("export is given a supernet; derive the network of a point first: mn.derive(supernet, point)")
    if not isinstance(net, nn.Module):
        raise ExportError(f"export is given a {type(net).__name__}; expected a torch.nn.Module")
    if form not in (None, "source", "program"):
        raise ExportError(f"export is given form={form!r}; expected 'source', 'program' or None")
    besides: tuple[str, ...] = (formats,) if isinstance(formats, str) else tuple(formats)
    if not set(besides) <= {"onnx", "torch"}:
        raise ExportError(f"export is given formats={besides!r}; expected 'onnx', 'torch' or both")
    # A copy, which hooks and traces may touch, on the device on which the proof runs.
    net = copy.deepcopy(net).cpu().eval()
    args, kwargs = tree_map_only(Tensor, lambda t: t.detach().cpu(), call_arguments(example))
    given, out = _run(net, args, kwargs)
    case = _Case(net, args, kwargs, given, [leaf for leaf in tree_leaves(plain(out)) if isinstance(leaf, Tensor)])
    folder = Path(folder)
    # Beside the folder, so that a failure leaves no trace and a success is a rename.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        temporary = Path(made)
        written, reason = _write(case, temporary, form)
        if besides:
            program = program_of(net, args, kwargs)
            if "onnx" in besides:
                write_onnx(program, temporary / "model.onnx", args, kwargs, case.out)
            if "torch" in besides and written == "source":
                save_program(program, temporary / "program.pt2", weights=True)
        architecture = json.dumps(_architecture(net, written, reason), indent=2) + "\n"
        (temporary / "architecture.json").write_text(architecture, encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        for path in sorted(temporary.iterdir()):
            path.replace(folder / path.name)
    return folder


class _Case(NamedTuple):
    """A network, an input of it, what its modules are given besides tensors, and the tensors that it returns."""

    net: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: dict[str, dict[str, Any]]
    out: list[Tensor]


def _write(case: _Case, folder: Path, form: str | None) -> tuple[str, str | None]:
    """Writes `model.py` in the first form that comes back equal; which one, and why none before it."""
    reasons: list[str] = []
    for written, write in FORMS:
        if form in (None, written):
            reason = "; ".join(dict.fromkeys(reasons)) or None
            try:
                write(case, folder, reason)
                _prove(folder, case)
                return written, None if written == "source" else reason
            except ExportError as error:
                reasons.append(str(error))
    raise ExportError("; ".join(dict.fromkeys(reasons)))


def _write_source(case: _Case, folder: Path, reason: str | None, *, copied: bool = False) -> None:
    source, besides = write_source(case.net, _title(case.net), case.given, copied=copied)
    _write_weights({**case.net.state_dict(), **besides}, folder / "weights.safetensors")
    (folder / "model.py").write_text(source, encoding="utf-8")


def _write_program(case: _Case, folder: Path, reason: str | None) -> None:
    _write_weights(case.net.state_dict(), folder / "weights.safetensors")
    save_program(program_of(case.net, case.args, case.kwargs), folder / "program.pt2", weights=False)
    because = " ".join((reason or "a program was asked for").split()).replace("\\", "/").replace('"', "'")
    text = PROGRAM_SOURCE.format(title=_title(case.net), reason=because, dtypes=DTYPES, read=READ)
    (folder / "model.py").write_text(text, encoding="utf-8")


#: How `model.py` can be written, in the order of preference. A trace takes what it cannot see as given (whether an
#: argument is a list, say), which shows when it is proved; then forwards are copied.
FORMS: list[tuple[str, Callable[[_Case, Path, str | None], None]]] = [
    ("source", _write_source),
    ("source", partial(_write_source, copied=True)),
    ("program", _write_program),
]
#: Everything that an export may put into a folder.
FILES = ("model.py", "weights.safetensors", "architecture.json", "program.pt2", "model.onnx", "model.onnx.data")


def _title(net: nn.Module) -> str:
    return f"{type(net).__name__}, exported by modularnas {_core.__version__}."


def load_export(folder: str | Path) -> nn.Module:
    """The network that `export` wrote, trained, in eval mode.

    It runs the folder's `model.py`: load only what you trust. `model.load()` does the same without this library.
    """
    path = Path(folder, "model.py")
    if not path.is_file():
        raise ExportError(f"'{folder}' has no model.py; expected a folder written by mn.export")
    # One module for one source, where pickle finds the classes again; a program has its file beside it.
    place = str(path.resolve()) if path.with_name("program.pt2").is_file() else ""
    name = f"exported_{hashlib.sha256(path.read_bytes() + place.encode()).hexdigest()[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name].load(path.with_name("weights.safetensors"))  # type: ignore[no-any-return]


def _run(net: nn.Module, args: Any, kwargs: Any) -> tuple[dict[str, dict[str, Any]], Any]:
    """The output, and for each module the arguments of its forward that are no tensors (flags, None)."""
    given: dict[str, dict[str, Any]] = {}

    def remember(path: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            try:
                bound = inspect.signature(module.forward).bind(*args, **kwargs)
            except TypeError:
                return
            bound.apply_defaults()
            found = {
                name: value
                for name, value in bound.arguments.items()
                if value is None or isinstance(value, (bool, int, float, str))
            }
            # What differs from call to call is an argument, not a part of the network.
            known = given.setdefault(path, found)
            given[path] = {n: v for n, v in known.items() if n in found and found[n] == v}

        return hook

    with ExitStack() as stack, torch.no_grad():
        for path, module in net.named_modules():
            stack.callback(module.register_forward_pre_hook(remember(path), with_kwargs=True).remove)
        try:
            out = net(*args, **kwargs)
        except Exception as error:
            raise ExportError(f"the network does not run on the example: {type(error).__name__}: {error}") from error
    return given, out


def _write_weights(state: dict[str, Tensor], path: Path) -> None:
    tensors = []
    for name, tensor in state.items():
        if tensor.dtype not in _DTYPES:
            raise ExportError(f"'{name}' is of {tensor.dtype}, which safetensors does not know")
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        tensors.append((name, _DTYPES[tensor.dtype], list(tensor.shape), flat.numpy().tobytes()))
    _core.write_safetensors(str(path), tensors)


def _architecture(net: nn.Module, form: str, reason: str | None) -> dict[str, Any]:
    known = net.__dict__.get(ARCHITECTURE) or {"point": None, "space": None, "cost": None}
    versions = {"modularnas": _core.__version__, "torch": torch.__version__}
    n_params = sum(parameter.numel() for parameter in net.parameters())
    why = {} if reason is None else {"no_source": reason}
    return {"format": 1, "form": form, **why, **known, "n_params": n_params, "versions": versions}


def _prove(folder: Path, case: _Case) -> None:
    path = folder / "case.pt"
    torch.save({"args": case.args, "kwargs": case.kwargs, "out": case.out}, path)
    homes = {type(module).__module__.partition(".")[0] for module in case.net.modules()} - ALONE
    command = [sys.executable, "-c", _PROOF, str(folder), str(path), "modularnas", "safetensors", *sorted(homes)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    path.unlink()
    if result.returncode != 0:
        reason = result.stderr.strip().splitlines()[-12:]
        raise ExportError("the exported network did not come back equal in a fresh process:\n" + "\n".join(reason))
