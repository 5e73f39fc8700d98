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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from modularnas import _core
from modularnas.errors import ExportError
from modularnas.transform.derive import ARCHITECTURE
from modularnas.transform.source import write_source
from modularnas.transform.supernet import Supernet
from modularnas.transform.trace import Example, call_arguments

__all__ = ["export", "load_export"]

_DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32",
    torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64",
    torch.complex64: "C64", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}  # fmt: skip

#: Run by a fresh interpreter in which this library and safetensors cannot be imported.
_PROOF = """
import importlib.util, sys, torch
sys.modules["modularnas"] = sys.modules["safetensors"] = None
folder, case = sys.argv[1:]
spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)
case = torch.load(case, weights_only=False)
from torch.utils._pytree import tree_leaves
with torch.no_grad():
    out = model.load()(*case["args"], **case["kwargs"])
leaves = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
assert len(leaves) == len(case["out"]), f"{len(leaves)} tensors instead of {len(case['out'])}"
for found, expected in zip(leaves, case["out"]):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
"""


def export(net: nn.Module, folder: str | Path, *, example: Example) -> Path:
    """Writes a network as source and weights that need torch alone.

    The folder gets `model.py` (readable source; its `load()` returns the trained network), `weights.safetensors` and
    `architecture.json` (the point, its costs, versions). Before anything is put there, a fresh Python process that
    can import torch but not this library loads it and must give the same outputs on `example`.

    Args:
        net: a trained network, such as one from `mn.derive`.
        folder: where to write; made if missing, its three files are replaced.
        example: an input: a tensor, a tuple of arguments, or a dict of keyword arguments.

    Returns:
        The folder.

    Raises:
        ExportError: if a module cannot be written as plain source (naming it), or the outputs differ.

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
    # A copy, which hooks and traces may touch, on the device on which the proof runs.
    net = copy.deepcopy(net).cpu().eval()
    args, kwargs = tree_map_only(Tensor, lambda t: t.detach().cpu(), call_arguments(example))
    given, out = _run(net, args, kwargs)
    title = f"{type(net).__name__}, exported by modularnas {_core.__version__}."
    source = write_source(net, title, given)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        temporary = Path(made)
        (temporary / "model.py").write_text(source, encoding="utf-8")
        _write_weights(net, temporary / "weights.safetensors")
        (temporary / "architecture.json").write_text(json.dumps(_architecture(net), indent=2) + "\n", encoding="utf-8")
        _prove(temporary, args, kwargs, out)
        for name in ("weights.safetensors", "architecture.json", "model.py"):
            (temporary / name).replace(folder / name)
    return folder


def load_export(folder: str | Path) -> nn.Module:
    """The network that `export` wrote, trained, in eval mode.

    It runs the folder's `model.py`: load only what you trust. `model.load()` does the same without this library.
    """
    path = Path(folder, "model.py")
    if not path.is_file():
        raise ExportError(f"'{folder}' has no model.py; expected a folder written by mn.export")
    # One module for one source, where pickle finds the classes again.
    name = f"exported_{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
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
            given[path] = {
                name: value
                for name, value in bound.arguments.items()
                if value is None or isinstance(value, (bool, int, float, str))
            }

        return hook

    with ExitStack() as stack, torch.no_grad():
        for path, module in net.named_modules():
            stack.callback(module.register_forward_pre_hook(remember(path), with_kwargs=True).remove)
        try:
            out = net(*args, **kwargs)
        except Exception as error:
            raise ExportError(f"the network does not run on the example: {type(error).__name__}: {error}") from error
    return given, out


def _write_weights(net: nn.Module, path: Path) -> None:
    tensors = []
    for name, tensor in net.state_dict().items():
        if tensor.dtype not in _DTYPES:
            raise ExportError(f"'{name}' is of {tensor.dtype}, which safetensors does not know")
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        tensors.append((name, _DTYPES[tensor.dtype], list(tensor.shape), flat.numpy().tobytes()))
    _core.write_safetensors(str(path), tensors)


def _architecture(net: nn.Module) -> dict[str, Any]:
    known = net.__dict__.get(ARCHITECTURE) or {"point": None, "space": None, "cost": None}
    versions = {"modularnas": _core.__version__, "torch": torch.__version__}
    n_params = sum(parameter.numel() for parameter in net.parameters())
    return {"format": 1, **known, "n_params": n_params, "versions": versions}


def _prove(folder: Path, args: Any, kwargs: Any, out: Any) -> None:
    case = folder / "case.pt"
    leaves = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
    torch.save({"args": args, "kwargs": kwargs, "out": leaves}, case)
    command = [sys.executable, "-c", _PROOF, str(folder), str(case)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    case.unlink()
    if result.returncode != 0:
        reason = result.stderr.strip().splitlines()[-12:]
        raise ExportError("the exported network did not come back equal in a fresh process:\n" + "\n".join(reason))
