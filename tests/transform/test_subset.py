"""Rule `subset`, and decisions that several places share."""

import pickle

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.testing import check_supernet


class Sum(nn.Module):
    """A sum of branches, each of which knows what it reads."""

    def __init__(self, sizes=(1, 3, 5)):
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(4, 4, k, padding=k // 2) for k in sizes)

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = Sum(), Sum()

    def forward(self, x):
        return self.b(self.a(x))


x = torch.randn(2, 4, 8, 8)


def test_two_of_three_stay():
    supernet = mn.rewrite(Sum(), [mn.rules.subset(2, where="branches")], example=x)
    assert [(d.name, d.kind) for d in supernet.space.decisions] == [("branches.subset", "subset")]
    assert supernet.space.size == 3
    assert supernet.original_point is None
    check_supernet(supernet, x, [supernet.space.unrank(i) for i in range(3)])
    net = mn.derive(supernet, {"branches.subset": (0, 2)})
    assert type(net.branches) is nn.ModuleList
    assert [conv.kernel_size[0] for conv in net.branches] == [1, 5]
    supernet.activate({"branches.subset": (0, 2)})
    given = Sum()
    given.branches = nn.ModuleList([supernet.model.branches[0], supernet.model.branches[1]])
    torch.testing.assert_close(supernet(x), given(x))


def test_what_is_in_a_branch_exists_only_while_it_stays():
    rules = [mn.rules.subset(1, where="branches"), mn.rules.kernel_size(3, 5)]
    supernet = mn.rewrite(Sum((1, 3, 5)), rules, example=x)
    assert supernet.space.size == 1 + 2 + 2
    check_supernet(supernet, x, [supernet.space.unrank(i) for i in range(5)])


def test_shared_decision_is_one():
    one = mn.rules.subset(2, where="*.branches").named(lambda path, _: "kept")
    kernel = mn.rules.kernel_size(3, 5).named(lambda path, _: f"kernel.{path.rpartition('.')[2]}")
    supernet = mn.rewrite(Two(), [one, kernel], example=x)
    assert [d.name for d in supernet.space.decisions] == ["kept", "kernel.1", "kernel.2"]
    assert supernet.space.size == 2 + 2 + 2 * 2
    check_supernet(supernet, x, [supernet.space.unrank(i) for i in range(8)])
    check_supernet(pickle.loads(pickle.dumps(supernet)), x, 2)


def test_shared_widths_vary_together():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    supernet = mn.rewrite(net, [mn.rules.width(0.5, 1.0).named(lambda path, _: "width")], example=torch.randn(2, 4))
    assert supernet.space.size == 2
    assert supernet.original_point == supernet.space.point({"width": 8})
    check_supernet(supernet, torch.randn(2, 4), [{"width": 4}, {"width": 8}])


def test_shared_decisions_must_be_alike():
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 5, padding=0))
    with pytest.raises(
        mn.RuleError, match=r"'1' is to share the decision 'k', which is one of \(3, 5, 7\); here it would"
    ):
        mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7).named(lambda path, _: "k")], example=x)


def test_lists_that_are_no_longer_are_left_alone():
    with pytest.raises(mn.RuleError, match=r"it has 3 modules, of which 3 stay"):
        mn.rewrite(Sum(), [mn.rules.subset(3, where="branches")], example=x)
    with pytest.raises(mn.RuleError, match=r"take=0; expected an integer of 1 or more"):
        mn.rules.subset(0, where="branches")


def test_a_forward_that_needs_all_is_refused():
    class Fixed(Sum):
        def forward(self, x):
            return torch.cat([branch(x) for branch in self.branches], 1)

    with pytest.raises(mn.RuleError, match=r"output becomes .*2, 8, 8, 8.* instead of"):
        mn.rewrite(Fixed(), [mn.rules.subset(2, where="branches")], example=x)
