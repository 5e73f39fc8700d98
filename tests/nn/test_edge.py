"""The native operator of a mixed op: equal to torch's operators, differentiable, and the same on several threads."""

import pytest
import torch
from torch import nn

from modularnas.nn.edge import Chain, edge, plain
from modularnas.ops import Slot, build


def chains(names, stride=1, affine=True):
    torch.manual_seed(0)
    made = [build(name, Slot(3, 3, stride)).double() for name in names]
    for module in (part for op in made for part in op.modules()):
        if isinstance(module, nn.BatchNorm2d) and affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -1, 1)
    read = [
        Chain.read([] if type(op) is nn.Identity else list(op) if type(op) is nn.Sequential else [op]) for op in made
    ]
    assert all(chain is not None for chain in read)
    return read


def arguments(read, x, weights):
    program = "[" + ",".join("null" if chain is None else chain.text() for chain in read) + "]"
    return x, weights, [p for chain in read if chain is not None for p in chain.parameters()], [], program


NAMES = ["sep_conv_3x3", "dil_conv_5x5", "max_pool_3x3_bn", "avg_pool_3x3", "skip_connect"]


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_right(stride):
    read = chains(NAMES[:2] + NAMES[3:] if stride == 1 else NAMES[:2], stride)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(len(read), dtype=torch.float64, requires_grad=True)
    parameters = [p for chain in read for p in chain.parameters()]
    assert torch.autograd.gradcheck(lambda *given: edge(read, given[1], given[0])[0], (x, weights, *parameters))


def test_equal_to_the_program_in_torchs_operators():
    read = chains(NAMES)
    read.insert(1, None)
    x, weights = torch.randn(2, 3, 7, 5, dtype=torch.float64), torch.randn(len(read), dtype=torch.float64)
    torch.testing.assert_close(edge(read, weights, x)[0], plain(*arguments(read, x, weights)))


def test_threads_change_nothing():
    read = chains(NAMES)
    x = torch.randn(4, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(len(read), dtype=torch.float64)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            out = edge(read, weights, x)[0]
            found.append((out, *torch.autograd.grad(out.square().sum(), [x, *read[0].parameters()])))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found[0], found[1])


def test_the_fake_form_has_the_shapes():
    read = chains(NAMES[:2], stride=2)
    x, weights = torch.randn(2, 3, 7, 6, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    given = (*arguments(read, x, weights), True)
    torch.library.opcheck(torch.ops.modularnas.edge.default, given, test_utils=("test_schema", "test_faketensor"))
