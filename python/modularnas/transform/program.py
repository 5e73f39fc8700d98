"""Programs: a network as one graph of operators, by `torch.export` or in the ONNX format.

A program has no modules and no source, but any forward that runs can become one. Sizes of the example that the network
allows to vary (the batch, the length of a sequence) are left open.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_leaves, tree_map

from modularnas.errors import ExportError, MissingExtraError

__all__ = ["PROGRAM_SOURCE", "plain", "program_of", "save_program", "write_onnx"]

PROGRAM_SOURCE = '''\
"""{title}

    net = load()  # trained, in eval mode; needs torch alone

It has no source of its own here: {reason}.
So program.pt2 has its operators, as torch.export recorded them, and weights.safetensors its weights.
"""

import json
import pathlib
import warnings

import torch

{dtypes}


class Output(dict):
    """What the network returns, by name; `out.name` is `out["name"]`."""

    __getattr__ = dict.__getitem__


def named(net, args, out):
    """A hook: outputs with names can be read as attributes."""
    return Output(out) if type(out) is dict else out

{read}

def load(weights=None):
    """The trained network, in eval mode; it cannot be put in train mode."""
    here = pathlib.Path(__file__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch reads the file without copying
        net = torch.export.load(here.with_name("program.pt2")).module()
    tensors = read_safetensors(weights or here.with_name("weights.safetensors"))
    net.load_state_dict(tensors, assign=True)
    net.training = False
    net.register_forward_hook(named)
    return net
'''


def plain(value: Any) -> Any:
    """An output with tensors in plain containers: what other libraries' classes hold by name becomes a dict.

    What is neither a tensor nor a container of some (a cache, None, a number) is left out of dicts.
    """
    if isinstance(value, Mapping):
        parts = {str(key): plain(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if _holds_tensors(part)}
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(map(plain, value)) if type(value) in (tuple, list) else tuple(map(plain, value))
    return value


def _holds_tensors(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in tree_leaves(value))


def program_of(net: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """The program of a network, with as many open sizes as it allows.

    Raises:
        ExportError: if `torch.export` cannot make it.
    """
    hook = net.register_forward_hook(lambda module, args, out: plain(out))
    try:
        with _quiet():
            try:
                # A size of 1 would be taken as a constant.
                more = tree_map(_twice, (args, kwargs))
                bound = inspect.signature(net.forward).bind(*more[0], **more[1]).arguments
                open_sizes = tree_map(_open, dict(bound))
                return torch.export.export(net, *more, dynamic_shapes=open_sizes)
            except Exception:
                return torch.export.export(net, args, kwargs)
    except Exception as error:
        text = str(error).strip().split("\n")[0]
        raise ExportError(f"torch.export cannot record the network: {type(error).__name__}: {text}") from error
    finally:
        hook.remove()


def save_program(program: ExportedProgram, path: Path, *, weights: bool) -> None:
    """Writes a program, with its weights or without those of the state dict."""
    if not weights:
        # Their shapes stay; one element stands for all.
        for name, tensor in program.state_dict.items():
            stand_in = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
            parameter = isinstance(tensor, nn.Parameter)
            program.state_dict[name] = nn.Parameter(stand_in, tensor.requires_grad) if parameter else stand_in
    with _quiet():
        torch.export.save(program, path)


def write_onnx(program: ExportedProgram, path: Path, args: Any, kwargs: Any, out: list[Tensor]) -> None:
    """Writes a program as ONNX and checks the file: by running it if onnxruntime is installed, else its form.

    Raises:
        MissingExtraError: without onnx and onnxscript.
        ExportError: if an operator has no counterpart, or outputs differ.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError('export to ONNX needs onnx and onnxscript: pip install "modularnas[onnx]"') from error
    try:
        with _quiet():
            made = torch.onnx.export(program, dynamo=True, verbose=False)
            assert made is not None
            made.save(str(path))
    except Exception as error:
        text = str(error).strip().split("\n")[0]
        raise ExportError(f"the network cannot be written as ONNX: {type(error).__name__}: {text}") from error
    onnx.checker.check_model(str(path))
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    names = [node.name for node in session.get_inputs()]
    found = session.run(None, {name: leaf.numpy() for name, leaf in zip(names, given, strict=True)})
    for mine, expected in zip(found, out, strict=True):
        torch.testing.assert_close(torch.as_tensor(mine), expected, rtol=1e-3, atol=1e-4)


def _twice(leaf: Any) -> Any:
    alone = isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[0] == 1
    return torch.cat([leaf, leaf]) if alone else leaf


def _open(leaf: Any) -> Any:
    """The batch, and every size of what holds indices: a length in pictures takes minutes to follow."""
    if not isinstance(leaf, Tensor):
        return None
    return dict.fromkeys(range(min(leaf.dim(), 1) if leaf.is_floating_point() else leaf.dim()), Dim.AUTO)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings and logs of torch.export about its own future."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
