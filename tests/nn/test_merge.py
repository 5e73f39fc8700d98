"""The kernel of several convolutions, and its convolution by rows of taps: equal to torch's operators, differentiable."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import modularnas as mn
from modularnas.nn import fuse
from modularnas.nn.merge import merge, plain, takes
from modularnas.nn.rows import convolve_rows, reach


def summands(sizes, steps, outputs=3, inputs=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    kernels = [torch.randn(outputs, inputs, *size, dtype=dtype, generator=generator).requires_grad_() for size in sizes]
    factors = torch.randn(len(sizes), dtype=dtype, generator=generator).requires_grad_()
    extent = [
        max(step * (size[d] - 1) + 1 for size, (step, *_) in zip(sizes, steps, strict=True))
        for d in range(len(sizes[0]))
    ]
    return factors, kernels, [tuple(step) * len(sizes[0]) for step in steps], tuple(extent)


@st.composite
def aligned(draw):
    """Odd kernels of one to three dimensions with their dilations, which all have a centre."""
    dims = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.tuples(*[st.sampled_from([1, 3, 5]) for _ in range(dims)]), min_size=1, max_size=4))
    steps = draw(st.lists(st.tuples(st.integers(1, 2)), min_size=len(sizes), max_size=len(sizes)))
    return summands(sizes, steps, draw(st.integers(1, 5)), draw(st.integers(1, 20)))


@given(aligned())
@settings(max_examples=60, deadline=None)
def test_the_operator_equals_torchs(given):
    factors, kernels, steps, extent = given
    assert takes(factors.unbind(), kernels)
    found = merge(factors.unbind(), kernels, steps, extent)
    expected = plain(factors.unbind(), kernels, steps, extent)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn_like(expected)
    of = [factors, *kernels]
    for a, b in zip(*(torch.autograd.grad(out, of, gradient) for out in (found, expected)), strict=True):
        torch.testing.assert_close(a, b)


@st.composite
def pictures(draw):
    """What a convolution of several kernels on a picture of any size takes."""
    factors, kernels, steps, extent = summands(
        [(3, 3), (5, 5), (3, 7)], [(1,), (1,), (1,)], draw(st.integers(1, 5)), draw(st.integers(1, 4))
    )
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    size = [draw(st.integers(max(1, e - 2 * p), 9)) for e, p in zip(extent, padding, strict=True)]
    x = torch.randn(draw(st.integers(1, 3)), kernels[0].shape[1], *size, dtype=torch.float64, requires_grad=True)
    if draw(st.booleans()):
        x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    return x, factors, kernels, steps, extent, stride, padding


@given(pictures(), st.sampled_from([1, 100, 1 << 21]))
@settings(max_examples=80, deadline=None)
def test_rows_of_taps_are_the_convolution(given, block):
    x, factors, kernels, steps, extent, stride, padding = given
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("modularnas.nn.rows.BLOCK", block)  # one output at a time, some, and all
        found = convolve_rows(x, factors.unbind(), kernels, steps, extent, stride, padding)
        kernel = plain(factors.unbind(), kernels, steps, extent)
        expected = functional.conv2d(x, kernel, None, stride, padding)
        torch.testing.assert_close(found, expected)
        gradient = torch.randn_like(expected)
        of = [x, factors, *kernels]
        for a, b in zip(*(torch.autograd.grad(out, of, gradient) for out in (found, expected)), strict=True):
            torch.testing.assert_close(a, b)


def test_what_reaches_nothing_is_not_counted():
    for size, taps, stride, padding in [(4, 7, 1, 3), (8, 7, 2, 3), (2, 7, 1, 3), (9, 3, 3, 0), (5, 1, 2, 0)]:
        x, kernel = torch.ones(1, 1, size, dtype=torch.float64), torch.ones(1, 1, taps, dtype=torch.float64)
        reads = functional.conv1d(x, kernel, None, stride, padding)
        assert math.isclose(reach(size, taps, stride, padding), reads.sum().item() / (reads.numel() * taps))


@pytest.mark.parametrize("call", ["merge", "rows"])
def test_derivatives_are_right_twice(call):
    factors, kernels, steps, extent = summands([(3, 3), (1, 1)], [(1,), (1,)], 2, 2)
    x = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)

    def compute(x, factors, *kernels):
        if call == "merge":
            return merge(factors.unbind(), kernels, steps, extent)
        return convolve_rows(x, factors.unbind(), kernels, steps, extent, (1, 1), (1, 1))

    assert torch.autograd.gradcheck(compute, (x, factors, *kernels))
    assert torch.autograd.gradgradcheck(compute, (x, factors, *kernels))


@pytest.mark.parametrize("wanted", [[0], [1], [3], [0, 2]])
def test_only_the_gradients_that_are_wanted_are_made(wanted):
    factors, kernels, steps, extent = summands([(3, 3), (5, 5)], [(1,), (1,)])
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    of = [x, factors, *kernels]
    for i, tensor in enumerate(of):
        tensor.requires_grad_(i in wanted)
    found = convolve_rows(x, factors.unbind(), kernels, steps, extent, (1, 1), (2, 2))
    expected = functional.conv2d(x, plain(factors.unbind(), kernels, steps, extent), None, 1, 2)
    of = [tensor for tensor in of if tensor.requires_grad]
    for a, b in zip(torch.autograd.grad(found.sum(), of), torch.autograd.grad(expected.sum(), of), strict=True):
        torch.testing.assert_close(a, b)


def test_threads_change_nothing():
    factors, kernels, steps, extent = summands([(3, 3), (7, 7)], [(2,), (1,)], 9, 70, torch.float32)
    x = torch.randn(2, 70, 3, 3, requires_grad=True)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            kernel = merge(factors.unbind(), kernels, steps, extent)
            out = convolve_rows(x, factors.unbind(), kernels, steps, extent, (1, 1), (3, 3))
            found.append([kernel, *torch.autograd.grad(kernel.square().sum(), [factors, *kernels], retain_graph=True)])
            torch.testing.assert_close(out, functional.conv2d(x, kernel, None, 1, 3), rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_other_tensors_keep_torchs_operators():
    factors, kernels, *_ = summands([(3, 3), (3, 3)], [(1,), (1,)])
    factors = factors.unbind()
    assert not takes(factors, [kernel.half() for kernel in kernels])
    assert not takes([factor.float() for factor in factors], kernels)
    assert not takes(factors, [kernel.contiguous(memory_format=torch.channels_last) for kernel in kernels])
    assert not takes(factors, [kernel.to("meta") for kernel in kernels])


def test_large_kernels_on_small_pictures_go_by_rows(monkeypatch):
    calls = []
    monkeypatch.setattr(fuse, "convolve_rows", lambda *given: calls.append(given) or convolve_rows(*given))
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, padding=1))
    x = torch.randn(32, 4, 4, 4)
    made = {}
    for fused in (True, False):
        rules = [mn.rules.replace(torch.nn.Conv2d, ["conv_3x3", "conv_5x5", "conv_7x7"])]
        made[fused] = mn.rewrite(net, rules, example=x, fuse=fused).relax("softmax")
    made[False].load_state_dict(made[True].state_dict())
    made[True](x)
    assert not calls  # torch's convolution is faster on few channels
    monkeypatch.setattr(fuse, "LARGE_KERNEL", 1)
    for supernet in made.values():
        supernet(x).square().sum().backward()
    assert len(calls) == 1
    for a, b in zip(made[True].parameters(), made[False].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made[True](x)
    with pytest.raises(RuntimeError, match="to have 4 channels, but got 3"):
        made[True](x[:, :3])
    assert len(calls) == 1
