"""First weights: what a network is before any training."""

import pytest
import torch
from torch import nn

import modularnas as mn


def test_residual_blocks_begin_as_their_shortcut():
    slot = mn.Slot(8, 8, 1)
    x = torch.randn(2, 8, 6, 6)
    for name in ("mbconv_k3_e6", "basic_block_3x3"):
        block = mn.ops.build(name, slot)
        before = block(x)
        mn.ops.initialise(block)
        expected = x.relu() if name == "basic_block_3x3" else x
        torch.testing.assert_close(block(x), expected)
        assert not torch.allclose(before, expected)
        block(x).square().sum().backward()
        norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms[-1].weight.grad.abs().sum() > 0  # and learns from there


def test_what_ends_in_a_convolution_stays_alive():
    block = mn.ops.build("basic_block_3x3_preact", mn.Slot(8, 8, 1))
    mn.ops.initialise(block)
    assert all((m.weight == 1).all() for m in block.modules() if isinstance(m, nn.BatchNorm2d))


def test_widths_are_those_of_the_fan_out():
    conv = nn.Conv2d(16, 64, 3)
    torch.manual_seed(0)
    mn.ops.initialise(conv)
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def test_every_candidate_of_a_supernet_is_drawn():
    supernet, x = mn.spaces.create("mobilenet_v2", num_classes=10, image_size=16, width=0.25)
    before = {name: p.clone() for name, p in supernet.named_parameters()}
    mn.ops.initialise(supernet)
    convs = [f"{name}.weight" for name, m in supernet.named_modules() if isinstance(m, nn.Conv2d)]
    parameters = dict(supernet.named_parameters())
    assert len(convs) > 250
    assert not any(torch.equal(before[name], parameters[name]) for name in convs)
    point = supernet.space.sample(seed=0)
    supernet.eval().activate(point)
    with torch.no_grad():
        torch.testing.assert_close(supernet(x), mn.derive(supernet, point).eval()(x), rtol=1e-4, atol=1e-4)
