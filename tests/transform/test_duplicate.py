"""Copies of module trees are those of `copy.deepcopy`."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from modularnas.transform.duplicate import duplicate, without_collection


class Shared(nn.Module):
    """A module in two places, a tied weight, a hidden module, containers, a tensor that is no parameter."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.first.weight
        self.hidden = [self.tied, nn.ReLU()]
        self.sizes, self.table, self.missing = (1, 2), {"a": [1]}, None
        self.constant = torch.ones(2)
        self.register_buffer("moving", torch.zeros(3), persistent=False)
        self.register_forward_hook(lambda module, args, out: out + 1)


class OwnCopy(nn.Linear):
    def __deepcopy__(self, memo):
        made = OwnCopy(self.in_features, self.out_features)
        memo[id(self)] = made
        made.copied = True
        return made


NETS = {
    "shared": Shared(),
    "own copy": nn.Sequential(OwnCopy(2, 2), nn.BatchNorm1d(2)),
    "layers": nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.LSTM(4, 4), nn.MultiheadAttention(4, 2), nn.ParameterList([torch.ones(2)])
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_it_is_what_deepcopy_makes(name):
    net = NETS[name]
    mine, theirs = duplicate(net, {}), copy.deepcopy(net)
    assert [(path, type(m)) for path, m in mine.named_modules()] == [(p, type(m)) for p, m in theirs.named_modules()]
    for own, other in zip(mine.modules(), theirs.modules(), strict=True):
        assert own.__dict__.keys() == other.__dict__.keys()
        assert repr(own) == repr(other)
    if name != "own copy":
        torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    originals = {id(t) for t in [*net.parameters(), *net.buffers()]}
    assert not originals & {id(t) for t in [*mine.parameters(), *mine.buffers()]}


def test_buffers_of_one_storage_still_share_it():
    net = nn.Module()
    table = torch.arange(12.0).reshape(3, 4)
    for name, tensor in {"table": table, "column": table[:, 1], "same": table.view(12), "part": table[1:]}.items():
        net.register_buffer(name, tensor)
    made = duplicate(net, {})
    torch.testing.assert_close(made.state_dict(), net.state_dict(), rtol=0, atol=0)
    made.same[1] = 7
    assert made.table[0, 1] == made.column[0] == 7
    assert table[0, 1] == 1


def test_garbage_is_searched_for_again_afterwards():
    with without_collection():
        assert not gc.isenabled()
        with without_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_identities_and_independence():
    net = Shared()
    made = duplicate(net, {})
    assert made.first is made.second
    assert made.tied.weight is made.first.weight
    assert made.hidden[0] is made.tied
    made.table["a"].append(2)
    made.constant += 1
    made._forward_hooks.clear()
    assert net.table == {"a": [1]}
    assert net.constant.tolist() == [1, 1]
    assert len(net._forward_hooks) == 1


def test_what_the_memo_has_is_shared():
    net = nn.Linear(2, 2)
    assert duplicate(net, {id(net.weight): net.weight}).weight is net.weight


def test_nothing_keeps_a_copy_alive():
    reference = weakref.ref(duplicate(nn.Sequential(nn.ReLU()), {}))
    assert reference() is None
