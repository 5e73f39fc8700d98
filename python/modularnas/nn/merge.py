"""The kernel of several convolutions of one input: theirs times their weights, added up where they read the same.

A convolution is linear in its kernel, so a weighted sum of convolutions is one with the sum of their kernels (Ding et
al. 2021, RepVGG, arXiv 2101.03697, and Diverse Branch Block, arXiv 2103.13425, transform II). With many channels and
few pixels to make the sum costs as much as the convolution, if every product and every padded kernel is written down.
`modularnas::merge` reads every kernel and writes the sum once, and in its backward pass the gradients once, in Rust
(`src/kernel/merge.rs`).

The operator is one of `torch.library`, on contiguous CPU tensors of 32 and 64 bits; everything else keeps torch's own
operators (`plain`), of which derivatives of its derivatives are taken as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from modularnas import _core

__all__ = ["merge", "plain", "takes"]

torch.library.define("modularnas::merge", "(Tensor factors, Tensor[] kernels, int[] extent, int[] steps) -> Tensor")
torch.library.define(
    "modularnas::merge_backward",
    "(Tensor gradient, Tensor factors, Tensor[] kernels, int[] steps, bool[] needed) -> Tensor[]",
)


def merge(
    factors: Sequence[Tensor], kernels: Sequence[Tensor], steps: Sequence[Sequence[int]], extent: Sequence[int]
) -> Tensor:
    """The sum of kernels times their factors, each in the centre of the extent and with its dilation.

    Args:
        factors: one number a kernel, of shape `()`.
        kernels: each `(O, I, …)`.
        steps: the dilation of each.
        extent: the size of the sum, `(O, I, *extent)`.
    """
    if not takes(factors, kernels):
        return plain(factors, kernels, steps, extent)
    flat = [n for step in steps for n in step]
    made: Tensor = torch.ops.modularnas.merge(torch.stack([*factors]), list(kernels), list(extent), flat)
    return made


def takes(factors: Sequence[Tensor], kernels: Sequence[Tensor]) -> bool:
    """Whether the operator is for these."""
    # A compiler fuses torch's own operators, and an exported program holds them alone.
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    dtype = kernels[0].dtype
    return dtype in (torch.float32, torch.float64) and all(
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.dtype == dtype
        and tensor.is_contiguous()
        for tensor in (*factors, *kernels)
    )


def plain(
    factors: Sequence[Tensor], kernels: Sequence[Tensor], steps: Sequence[Sequence[int]], extent: Sequence[int]
) -> Tensor:
    """What `merge` gives, in torch's operators."""
    total: Tensor | None = None
    for factor, given, step in zip(factors, kernels, steps, strict=True):
        kernel = factor * given  # first, so that the backward pass needs what is there anyway
        margins = [(size - d * (k - 1) - 1) // 2 for size, k, d in zip(extent, kernel.shape[2:], step, strict=True)]
        if set(step) == {1}:
            around = [m for margin in reversed(margins) for m in (margin, margin)]
            part = functional.pad(kernel, around) if any(margins) else kernel
        else:
            part = kernel.new_zeros(*kernel.shape[:2], *extent)
            along = zip(margins, kernel.shape[2:], step, strict=True)
            where = [slice(margin, margin + d * (k - 1) + 1, d) for margin, k, d in along]
            part[tuple([slice(None), slice(None), *where])] = kernel
        total = part if total is None else total + part
    assert total is not None
    return total


@torch.library.impl("modularnas::merge", "CPU")
def _forward(factors: Tensor, kernels: list[Tensor], extent: list[int], steps: list[int]) -> Tensor:
    out = _core.empty_tensor([*kernels[0].shape[:2], *extent], factors)
    _core.merge_forward(factors, kernels, extent, steps, False, out, torch.get_num_threads())
    return out


@torch.library.impl("modularnas::merge_backward", "CPU")
def _gradients(
    gradient: Tensor, factors: Tensor, kernels: list[Tensor], steps: list[int], needed: list[bool]
) -> list[Tensor]:
    tensors = zip([factors, *kernels], needed, strict=True)
    made = [_core.empty_tensor(tensor.shape if need else [0], tensor) for tensor, need in tensors]
    first, *rest = (tensor if need else None for tensor, need in zip(made, needed, strict=True))
    extent, threads = gradient.shape[2:], torch.get_num_threads()
    _core.merge_backward(gradient, factors, kernels, extent, steps, False, first, rest, threads)
    return made


@torch.library.register_fake("modularnas::merge")  # type: ignore[untyped-decorator]
def _shape(factors: Tensor, kernels: list[Tensor], extent: list[int], steps: list[int]) -> Tensor:
    return kernels[0].new_empty([*kernels[0].shape[:2], *extent])


@torch.library.register_fake("modularnas::merge_backward")  # type: ignore[untyped-decorator]
def _gradient_shapes(_: Tensor, factors: Tensor, kernels: list[Tensor], *rest: Any) -> list[Tensor]:
    tensors = zip([factors, *kernels], rest[-1], strict=True)
    return [torch.empty_like(tensor) if need else tensor.new_empty([0]) for tensor, need in tensors]


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    factors, kernels, extent, steps = inputs
    ctx.save_for_backward(factors, *kernels)
    ctx.extent, ctx.steps = extent, steps


def _backward(ctx: Any, gradient: Tensor) -> Any:
    factors, *kernels = ctx.saved_tensors
    of_factors, of_kernels, *_ = ctx.needs_input_grad
    needed = [of_factors, *of_kernels]
    if torch.is_grad_enabled():  # a gradient of the gradients may be wanted
        n = len(ctx.extent)
        steps = [ctx.steps[i : i + n] for i in range(0, len(ctx.steps), n)]
        made = plain(factors.unbind(), kernels, steps, ctx.extent)
        wanted = [tensor for tensor, need in zip([factors, *kernels], needed, strict=True) if need]
        found = iter(torch.autograd.grad(made, wanted, gradient, create_graph=True))
        gradients = [next(found) if need else None for need in needed]
    else:
        of = torch.ops.modularnas.merge_backward(gradient.contiguous(), factors, kernels, ctx.steps, needed)
        gradients = [tensor if need else None for tensor, need in zip(of, needed, strict=True)]
    return gradients[0], gradients[1:], None, None


torch.library.register_autograd("modularnas::merge", _backward, setup_context=_keep)
