"""A merged kernel is not kept for the backward pass, which makes it again."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import modularnas as mn


def mixed(fuse=True, channels=8):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1))
    x = torch.randn(4, channels, 16, 16, dtype=torch.double)
    candidates = ["conv_3x3", "conv_5x5", "conv_7x7", "dil_conv_3x3", "identity"]
    supernet = mn.rewrite(net, [mn.rules.replace(nn.Conv2d, candidates)], example=x.float(), fuse=fuse).double()
    return supernet.relax("softmax"), x


def gradients(supernet, x, call=None):
    x = x.clone().requires_grad_()
    out = (call or supernet)(x)
    out.square().sum().backward()
    return [out.detach(), x.grad, *(p.grad.clone() for p in supernet.parameters() if p.grad is not None)]


def kept_shapes(supernet, x):
    shapes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: shapes.append(tuple(t.shape)) or t, lambda t: t):
        supernet(x)
    return shapes


def test_the_kernel_is_not_kept():
    supernet, x = mixed()
    assert "merged" in str(supernet.report())
    largest = supernet.model[0].candidates[2]
    n_large = sum(shape == (8, 8, 7, 7) for shape in kept_shapes(supernet, x))
    assert n_large == sum(tuple(p.shape) == (8, 8, 7, 7) for p in largest.parameters())


@pytest.mark.parametrize("how", ["plain call", "checkpoint", "under other hooks"])
def test_gradients_are_those_of_the_plain_form(how):
    fused, x = mixed()
    plain, _ = mixed(fuse=False)
    plain.load_state_dict(copy.deepcopy(fused.state_dict()))
    call = {
        "plain call": None,
        "checkpoint": lambda x: checkpoint(fused, x, use_reentrant=False),
        "under other hooks": lambda x: fused(x),
    }[how]
    if how == "under other hooks":
        with torch.autograd.graph.save_on_cpu():
            found = gradients(fused, x, call)
    else:
        found = gradients(fused, x, call)
    expected = gradients(plain, x)
    assert len(found) == len(expected) > 5
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_second_derivative_is_that_of_the_plain_form():
    found = []
    state = copy.deepcopy(mixed(channels=2)[0].state_dict())
    for fuse in (True, False):
        supernet, x = mixed(fuse, channels=2)
        supernet.load_state_dict(state)
        inputs = [x[:1, :, :8, :8].clone().requires_grad_(), *supernet.parameters()]
        inputs = [value for value in inputs if value.requires_grad]
        first = torch.autograd.grad(supernet(inputs[0]).pow(3).sum(), inputs, create_graph=True, allow_unused=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first if g is not None), inputs, allow_unused=True)
        found.append([g for g in second if g is not None])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_a_kernel_that_changes_before_the_backward_pass_is_an_error():
    supernet, x = mixed()
    supernet.requires_grad_(False)
    supernet.alpha.requires_grad_(False)
    out = supernet(x.requires_grad_())
    with torch.no_grad():
        next(supernet.model[0].candidates[2].parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()


def test_few_positions_keep_the_kernels_apart():
    supernet, x = mixed()
    assert (8, 8, 7, 7) in kept_shapes(supernet, x)
    plain, _ = mixed(fuse=False)
    plain.load_state_dict(supernet.state_dict())
    small = x[:1, :, :4, :4].contiguous()
    torch.testing.assert_close(supernet(small), plain(small))
