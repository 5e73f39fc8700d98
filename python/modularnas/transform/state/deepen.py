"""More layers, the same function (Net2DeeperNet; Chen, Goodfellow and Shlens 2015, arXiv 1511.05641, section 2.3).

A new layer computes the identity: a kernel with a one at its centre, and a batch norm whose scale and shift undo its
statistics, which are measured on the example. An activation follows only where it changes nothing: one that may be
applied twice (relu) after what has just been applied.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import skip_init

from modularnas import _core
from modularnas.errors import NetworkError
from modularnas.transform.candidates import channel_layout
from modularnas.transform.state.tensors import check_same, readable
from modularnas.transform.trace import Example, Trace, call_arguments, evaluating

__all__ = ["IDEMPOTENT", "deepen"]

#: Activations that change nothing when they are applied again.
IDEMPOTENT = (nn.ReLU, nn.ReLU6, nn.Hardtanh)

CONVS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
NORMS: dict[int, type[_BatchNorm]] = {3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def deepen(
    model: nn.Module,
    after: str,
    *,
    example: Example,
    kernel_size: int = 3,
    norm: bool | Literal["auto"] = "auto",
) -> nn.Module:
    """A copy of a model with one more layer after a module; it computes the same.

    The layer is a convolution where the output is an image (or its one- or three-dimensional kin), else linear. In an
    `nn.Sequential` it comes right after the module, and later ones move on by one; elsewhere the module becomes an
    `nn.Sequential` of itself and the layer.

    Args:
        model: any module that runs on `example`.
        after: the path of a module that returns one tensor.
        example: an input: a tensor, a tuple of arguments or a dict of keyword arguments; a batch of real data, as the
            statistics of the new batch norm are measured on it.
        kernel_size: of the convolution; odd.
        norm: whether a batch norm follows the convolution; `"auto"`: if the model has batch norms.

    Raises:
        NetworkError: if there is no place for a layer; says why.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> x = torch.randn(2, 3, 8, 8)
        >>> deep = mn.transform.deepen(net, after="2", example=x)
        >>> deep[3]
        Sequential(
          (0): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
          (1): BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
          (2): ReLU()
        )
        >>> torch.allclose(deep(x), net(x), atol=1e-5)
        True
    """
    if kernel_size % 2 == 0:
        raise NetworkError(f"a kernel of size {kernel_size} has no centre; expected an odd size")
    args, kwargs = call_arguments(example)
    deep, traced = readable(model, args, kwargs)
    modules = dict(model.named_modules())
    if after not in modules or after not in traced.calls:
        raise NetworkError(f"the model has no module '{after}' that runs on the example; give the path of one")
    outputs = _outputs(model, modules[after], args, kwargs)
    if not all(isinstance(out, Tensor) and out.is_floating_point() and out.dim() > 1 for out in outputs):
        raise NetworkError(f"'{after}' returns no single tensor of channels; a layer has no place after it")
    if len({(out.dim(), out.shape[1], out.shape[-1] if out.dim() == 2 else 0) for out in outputs}) > 1:
        raise NetworkError(f"'{after}' returns different numbers of channels; a layer has no place after it")
    call = traced.calls[after][0]
    assert call.input_shape is not None
    features = outputs[0].dim() == 2 or channel_layout(modules[after], call.input_shape, outputs[0].shape) != "channels"
    if norm == "auto":
        norm = not features and any(isinstance(module, _BatchNorm) for module in modules.values())
    layer = _identity(outputs, features, kernel_size, norm)
    activation = _activation(model, traced, after)
    block = nn.Sequential(*layer, *([activation] if activation is not None else []))
    block.train(modules[after].training)
    deep = _insert(deep, deep.get_submodule(after), block)
    check_same(model, deep, args, kwargs, f"no layer can follow '{after}'")
    return deep


def _outputs(model: nn.Module, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    outputs: list[Any] = []
    # Cloned, as what follows may work in place.
    keep = module.register_forward_hook(
        lambda m, a, out: outputs.append(out.clone() if isinstance(out, Tensor) else out)
    )
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(model):
            model(*args, **kwargs)
    finally:
        keep.remove()
    return outputs


def _identity(outputs: list[Tensor], features: bool, kernel_size: int, norm: bool) -> list[nn.Module]:
    first = outputs[0]
    channels = first.shape[-1] if features else first.shape[1]
    flat = torch.cat([(out if features else out.movedim(1, -1)).reshape(-1, channels) for out in outputs]).double()
    mean, variance = flat.mean(0).to(first.dtype), flat.var(0, unbiased=len(flat) > 1).to(first.dtype)
    place: dict[str, Any] = {"device": first.device, "dtype": first.dtype}
    layer: Any
    if features:
        kernel, _, _ = _core.identity_layer([], mean, variance, 0.0)
        layer = skip_init(nn.Linear, channels, channels, **place)
    else:
        n = first.dim() - 2
        kernel, _, _ = _core.identity_layer([kernel_size] * n, mean, variance, 0.0)
        padding = kernel_size // 2
        layer = skip_init(CONVS[first.dim()], channels, channels, kernel_size, padding=padding, bias=not norm, **place)
    layer.weight = nn.Parameter(kernel)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    if not norm:
        return [layer]
    made = (nn.BatchNorm1d if features else NORMS[first.dim()])(channels, **place)
    _, scale, shift = _core.identity_layer([], mean, variance, made.eps)
    made.weight, made.bias = nn.Parameter(scale), nn.Parameter(shift)
    assert made.running_mean is not None
    assert made.running_var is not None
    made.running_mean.copy_(mean)
    made.running_var.copy_(variance)
    return [layer, made]


def _activation(model: nn.Module, traced: Trace, after: str) -> nn.Module | None:
    """A copy of the activation by which a module ends, if it may be applied twice."""
    last = traced.calls[after][-1].output
    for path, calls in traced.calls.items():
        inside = path == after or path.startswith(f"{after}.") or not after
        module = model.get_submodule(path)
        if inside and isinstance(module, IDEMPOTENT) and any(call.output is last for call in calls):
            return copy.deepcopy(module)
    return None


def _insert(model: nn.Module, given: nn.Module, block: nn.Module) -> nn.Module:
    """Puts a block behind a module wherever that is used; returns the model."""
    if given is model:
        return nn.Sequential(model, block)
    wrapped = nn.Sequential(given, block)
    for parent in list(model.modules()):
        if not any(child is given for child in parent._modules.values()):
            continue
        if isinstance(parent, nn.Sequential) and type(parent).forward is nn.Sequential.forward:
            numbered = all(name == str(i) for i, name in enumerate(parent._modules))
            children: list[tuple[str, nn.Module | None]] = []
            for name, child in parent._modules.items():
                children.append((name, child))
                if child is given:
                    children.append((f"{name}_deeper", block))
            parent._modules.clear()
            for i, (name, inside) in enumerate(children):
                parent._modules[str(i) if numbered else name] = inside  # type: ignore[assignment, unused-ignore]
        else:
            parent._modules.update({name: wrapped for name, child in parent._modules.items() if child is given})
    return model
