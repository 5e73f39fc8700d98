"""Every registered candidate op keeps the laws; a broken one is caught."""

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas import testing


@pytest.fixture
def op():
    """Registers an op for one test."""
    names = []

    def register(name, build):
        mn.ops.register(name)(build)
        names.append(name)
        return name

    yield register
    for name in names:
        mn.ops.registry._OPS.pop(name)


@pytest.mark.parametrize("name", mn.ops.names())
def test_registered_ops_keep_the_laws(name):
    testing.check_op(name)


class Unused(nn.Conv2d):
    def __init__(self, slot):
        super().__init__(slot.in_channels, slot.out_channels, 1, stride=slot.stride)
        self.extra = nn.Parameter(torch.ones(3))


class Infinite(nn.Conv2d):
    def __init__(self, slot):
        super().__init__(slot.in_channels, slot.out_channels, 1, stride=slot.stride)

    def forward(self, x):
        return super().forward(x) / 0


class Restless(nn.Conv2d):
    def __init__(self, slot):
        super().__init__(slot.in_channels, slot.out_channels, 1, stride=slot.stride)

    def forward(self, x):
        return super().forward(x) + torch.rand(())


@pytest.mark.parametrize(
    ("build", "law"),
    [
        (Unused, "op 'bad' on 2d from 8 to 8 channels with stride 1 gives '.*extra' no gradient"),
        (Infinite, "op 'bad' on 2d from 8 to 8 channels with stride 1 gives values that are not finite"),
        (Restless, "the derived network differs from the activated supernet"),
    ],
)
def test_broken_ops_are_caught(op, build, law):
    with pytest.raises(AssertionError, match=law):
        testing.check_op(op("bad", build))


def test_an_op_of_another_shape_is_refused(op):
    name = op("narrow", lambda slot: nn.Conv2d(slot.in_channels, slot.out_channels, 1))
    with pytest.raises(mn.RuleError, match=r"candidate 'narrow' of '0' gives .*; expected \(2, 8, 4, 4\)"):
        testing.check_op(name)
