"""A weighted sum of convolutions on pictures smaller than their kernels, as products of matrices.

Of a kernel of 7 x 7 on pictures of 4 x 4 two thirds of the taps read padding, and torch's convolution multiplies them
all, with kernels of 50 MB that it copies into another order first. Here the picture is unfolded along its width alone,
so that each row of taps is one matrix product with the rows that it reaches; rows that reach none cost nothing.
(Unfolding along both dimensions: Chellapilla, Puri and Simard 2006, "High Performance Convolutional Neural Networks for
Document Processing".)

The sum of the kernels (`merge`) is made for some outputs at a time, in the order (outputs, taps, inputs), where a row
of taps is a matrix as it lies, and used up: it is never there as a whole, and neither is its gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from modularnas import _core
from modularnas.nn.merge import plain

__all__ = ["convolve_rows", "reach"]

#: Numbers of the sum of kernels that are there at a time: what a processor's cache may hold.
BLOCK = 1 << 21


def reach(size: int, taps: int, stride: int, padding: int) -> float:
    """The part of the products along one dimension that reads no padding."""
    reads = [(start, end) for _, start, end, _ in _rows(size, taps, stride, padding)]
    return sum(end - start for start, end in reads) / (taps * _places(size, taps, stride, padding))


def _places(size: int, taps: int, stride: int, padding: int) -> int:
    return (size + 2 * padding - taps) // stride + 1


def _rows(size: int, taps: int, stride: int, padding: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each tap that reaches something: the tap, the first and the end of its places, and what it reads first."""
    places = _places(size, taps, stride, padding)
    for tap in range(taps):
        start = max(0, -((tap - padding) // stride))
        end = min(places, (size - 1 - tap + padding) // stride + 1)
        if start < end:
            yield tap, start, end, start * stride + tap - padding


def convolve_rows(
    x: Tensor,
    factors: Sequence[Tensor],
    kernels: Sequence[Tensor],
    steps: Sequence[Sequence[int]],
    extent: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """The convolution with `merge(factors, kernels, steps, extent)`; only for what `merge.takes`.

    Args:
        x: `(N, I, H, W)`, of the kernels' kind.
        factors: one number a kernel, of shape `()`.
        kernels: each `(O, I, …)`.
        steps: the dilation of each.
        extent: the size of the sum.
        stride: of height and width.
        padding: of height and width, with zeros.
    """
    flat = [n for step in steps for n in step]
    made: Tensor = _Rows.apply(x, torch.stack([*factors]), flat, extent, stride, padding, *kernels)  # type: ignore[no-untyped-call]
    return made


class _Rows(torch.autograd.Function):
    """Matrices of columns: (kW I, H, N W') of the input and (O, H', N W') of the output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        factors: Tensor,
        steps: list[int],
        extent: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        *kernels: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, factors, *kernels)
        ctx.of = steps, extent, stride, padding
        n, _, height, width = x.shape
        across = _places(width, extent[1], stride[1], padding[1])
        columns = _unfolded(x, extent[1], stride[1], padding[1])
        out = x.new_zeros(kernels[0].shape[0], _places(height, extent[0], stride[0], padding[0]) * n * across)
        rows = list(_rows(height, extent[0], stride[0], padding[0]))
        for outputs, block in _blocks(factors, kernels, steps, extent):
            for tap, start, end, first in rows:
                read = columns[:, first :: stride[0]][:, : end - start].flatten(1)
                out[outputs, start * n * across : end * n * across].addmm_(block[:, tap], read)
        return out.view(out.shape[0], -1, n, across).permute(2, 0, 1, 3).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        x, factors, *kernels = ctx.saved_tensors
        steps, extent, stride, padding = ctx.of
        of_x, of_factors, _, _, _, _, *of_kernels = ctx.needs_input_grad
        if torch.is_grad_enabled():  # a gradient of the gradients may be wanted
            of = [of_x, of_factors, *of_kernels]
            wanted = [tensor for tensor, need in zip([x, factors, *kernels], of, strict=True) if need]
            pairs = [steps[i : i + 2] for i in range(0, len(steps), 2)]
            out = functional.conv2d(x, plain(factors.unbind(), kernels, pairs, extent), None, stride, padding)
            found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True))
            to_x, to_factors, *to_kernels = (next(found) if need else None for need in of)
            return to_x, to_factors, None, None, None, None, *to_kernels
        n, _, height, _ = x.shape
        across = gradient.shape[3]
        columns = _unfolded(x, extent[1], stride[1], padding[1])
        gradient = gradient.permute(1, 2, 0, 3).reshape(gradient.shape[1], -1)
        to_columns = columns.new_zeros(columns.shape) if of_x else None
        to_factors = torch.zeros_like(factors) if of_factors else None
        made = [_core.empty_tensor(k.shape, k) if need else None for k, need in zip(kernels, of_kernels, strict=True)]
        rows = list(_rows(height, extent[0], stride[0], padding[0]))
        idle = sorted(set(range(extent[0])) - {tap for tap, *_ in rows})
        for outputs, block in _blocks(factors, kernels, steps, extent):
            to_block = block.new_empty(block.shape) if of_factors or any(of_kernels) else None
            for tap, start, end, first in rows:
                part = gradient[outputs, start * n * across : end * n * across]
                if to_columns is not None:
                    into = to_columns[:, first :: stride[0]][:, : end - start]
                    if stride[0] == 1:
                        into.flatten(1).addmm_(block[:, tap].T, part)
                    else:
                        into += (block[:, tap].T @ part).view(into.shape)
                if to_block is not None:
                    read = columns[:, first :: stride[0]][:, : end - start].flatten(1)
                    torch.mm(part, read.T, out=to_block[:, tap])
            if to_block is not None:
                to_block[:, idle] = 0
                of_block = torch.empty_like(factors) if of_factors else None
                parts = [None if to is None else to[outputs] for to in made]
                some, threads = [kernel[outputs] for kernel in kernels], torch.get_num_threads()
                _core.merge_backward(to_block, factors, some, extent, steps, True, of_block, parts, threads)
                if to_factors is not None and of_block is not None:
                    to_factors += of_block
        to_x = None if to_columns is None else _folded(to_columns, x, extent[1], stride[1], padding[1])
        return to_x, to_factors, None, None, None, None, *made


def _blocks(
    factors: Tensor, kernels: Sequence[Tensor], steps: list[int], extent: Sequence[int]
) -> Iterator[tuple[slice, Tensor]]:
    """Some outputs, and the sum of the kernels for them as `(outputs, kH, kW I)`, which the next one overwrites."""
    n_outputs, n_inputs, *_ = kernels[0].shape
    size = n_inputs * extent[0] * extent[1]
    n_blocks = min(n_outputs, -(-n_outputs * size // BLOCK))
    step = -(-n_outputs // n_blocks)
    buffer = _core.empty_tensor([step, extent[0], extent[1] * n_inputs], factors)
    for start in range(0, n_outputs, step):
        outputs = slice(start, min(start + step, n_outputs))
        block = buffer[: outputs.stop - start]
        some = [kernel[outputs] for kernel in kernels]
        _core.merge_forward(factors, some, extent, steps, True, block, torch.get_num_threads())
        yield outputs, block


def _unfolded(x: Tensor, taps: int, stride: int, padding: int) -> Tensor:
    """`(N, I, H, W)` as (kW I, H, N W'): what each tap of a row reads."""
    windows = functional.pad(x, (padding, padding)).unfold(3, taps, stride)  # (N, I, H, W', kW)
    return windows.permute(4, 1, 2, 0, 3).reshape(taps * x.shape[1], x.shape[2], -1).contiguous()


def _folded(columns: Tensor, like: Tensor, taps: int, stride: int, padding: int) -> Tensor:
    """The reverse, what is read several times added up."""
    n, inputs, height, width = like.shape
    windows = columns.view(taps, inputs, height, n, -1)
    across = windows.shape[4]
    out = columns.new_zeros(inputs, height, n, width + 2 * padding)
    for tap in range(taps):
        out[..., tap : tap + stride * (across - 1) + 1 : stride] += windows[tap]
    return out[..., padding : padding + width].permute(2, 0, 1, 3).contiguous()
