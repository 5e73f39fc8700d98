"""What goes wrong says what was given, what was expected, where, and what to do: every error whole."""

import numpy as np
import pytest
import torch
from torch import nn

import modularnas as mn

kernel_size, replace, slots = mn.rules.kernel_size, mn.rules.replace, mn.rules.slots
X = torch.randn(1, 3, 8, 8)


def net():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))


@pytest.fixture(scope="module")
def supernet():
    return mn.rewrite(net(), [kernel_size(3, 5), replace(nn.ReLU, ["original", nn.SiLU])], example=X)


def raised(error, action):
    with pytest.raises(mn.ModularNASError) as found:
        action()
    assert type(found.value) is error
    return str(found.value)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: replace(nn.Conv2d, ["conv_3x33"]),
            "there is no candidate op 'conv_3x33'; did you mean 'conv_3x3' or 'dw_conv_3x3' or 'conv_3x3_d2'?",
        ),
        (lambda: slots(["zzz"]), "there is no candidate op 'zzz'; mn.ops.names() lists them"),
        (
            lambda: replace("Conv2d", ["identity"]),
            "replace is given 'Conv2d' as its target; expected a torch.nn.Module class or a tuple of them",
        ),
        (
            lambda: replace(nn.Conv2d, "identity"),
            "replace is given 'identity' as candidates; expected a list of one or more ops",
        ),
        (
            lambda: kernel_size(3, 5, where=3),
            "where= is a int; expected a glob over module paths, a module class, a predicate(path, module) or a list "
            "of these",
        ),
        (lambda: slots([]), "slots is given [] as candidates; expected a list of one or more ops"),
        (
            lambda: replace(nn.Conv2d, [3]),
            "replace is given the candidate 3; expected the name of an op, a function of a slot, a module class or 'original'",
        ),
        (
            lambda: replace(nn.Conv2d, ["identity", "identity"]),
            "replace is given the candidate 'identity' twice; give one of them another __name__",
        ),
        (lambda: slots(["original"]), 'slots is given the candidate "original"; a slot has none, leave it out'),
        (
            lambda: kernel_size(3),
            "kernel_size is given (3,); expected two or more different sizes, such as 3, 5, 7",
        ),
        (
            lambda: kernel_size(3, 3),
            "kernel_size is given (3, 3); expected two or more different sizes, such as 3, 5, 7",
        ),
        (lambda: kernel_size(3, 5.0), "kernel_size is given (3, 5.0); expected integers of 1 or more"),
        (lambda: kernel_size(0, 3), "kernel_size is given (0, 3); expected integers of 1 or more"),
        (
            lambda: mn.ops.register("original"),
            "an op is registered as 'original'; expected a non-empty name other than 'original'",
        ),
    ],
)
def test_rules_that_cannot_be_made(make, text):
    assert raised(mn.RuleError, make) == text


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.unused = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


class Crossing(nn.Module):
    """Its convolution runs inside of `a` and outside."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
        self.b = self.a[0]

    def forward(self, x):
        return self.b(self.a(x))


def tied():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    net[1].weight = net[0].weight
    return net


def narrow(slot):
    return nn.Conv2d(slot.in_channels, 4, 1)


def misfit(slot):
    return nn.Linear(5, 4)


def broken(slot):
    raise KeyError("mine")


def number(slot):
    return 3


@pytest.mark.parametrize(
    ("model", "rules", "text"),
    [
        (
            net,
            [kernel_size(3, 5), replace(nn.LSTM, ["identity"])],
            "rule 1 (replace) matches no module; check its target and where=",
        ),
        (
            net,
            [kernel_size(3, 5, where="layer9.*")],
            "rule 0 (kernel_size) matches no module; check its target and where=",
        ),
        (
            net,
            [kernel_size(7, 9)],
            "rule 0 (kernel_size) opens none of the 2 modules it is meant for ('0': its kernel size 3 is not among "
            "the choices [7, 9]; ...)",
        ),
        (
            lambda: nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(4)]),
            [kernel_size(1, 3)],
            "rule 0 (kernel_size) opens none of the 4 modules it is meant for ('0': it is 1x1; name it by where= to "
            "open it; ...)",
        ),
        (
            net,
            [kernel_size(3, 5), kernel_size(3, 7, where="2")],
            "rules 0 and 1 both open the kernel_size of '2'; narrow one by where=",
        ),
        (
            net,
            [replace(nn.ReLU, ["original", nn.SiLU]), replace(nn.Module, ["identity"], where="1")],
            "rules 0 and 1 both open the op of '1'; narrow one by where=",
        ),
        (
            net,
            [replace(nn.Conv2d, [narrow], where="0")],
            "candidate 'narrow' of '0' gives (1, 4, 8, 8) for the input (1, 3, 8, 8); expected (1, 8, 8, 8)",
        ),
        (
            net,
            [replace(nn.Conv2d, [broken], where="0")],
            "candidate 'broken' cannot be built for '0' (Slot(3, 8, stride=1)): KeyError: 'mine'",
        ),
        (
            net,
            [replace(nn.Conv2d, [number], where="0")],
            "candidate 'number' of '0' is a int; expected a torch.nn.Module",
        ),
        (
            lambda: nn.Sequential(nn.Linear(8, 8)),
            [replace(nn.Linear, ["conv_3x3"])],
            "candidate 'conv_3x3' of '0': an op with a conv is meant for inputs (N, C, …) of 1 to 3 spatial "
            "dimensions, not 0",
        ),
        (
            lambda: nn.Sequential(mn.Slot(3, 3), nn.Conv2d(3, 3, 3, padding=1)),
            [kernel_size(3, 5)],
            "the slot '0' is opened by no rule; add mn.rules.slots([...]) or widen its where=",
        ),
        (
            Unused,
            [replace(nn.Conv2d, ["original", "identity"])],
            "'unused' did not run on the example, so candidates cannot be fitted to it; leave it out by where=",
        ),
        (
            Crossing,
            [kernel_size(3, 5), replace(nn.Sequential, ["original", "identity"], where="a")],
            "'a.0' is also used outside of 'a', so it cannot vary inside of it while 'a' is replaced or left out; "
            "leave one of them out by where=",
        ),
        (
            tied,
            [replace(nn.Conv2d, ["original", "identity"])],
            "'0' and '1' share a parameter, so only one of them can be replaced or left out; leave one out by where=",
        ),
        (net, [], "rewrite is given no rules; give at least one, such as mn.rules.kernel_size(3, 5)"),
        (
            net,
            ["kernel_size"],
            "a rule is a str; expected one made by mn.rules, such as mn.rules.kernel_size(3, 5)",
        ),
    ],
)
def test_rules_that_cannot_be_applied(model, rules, text):
    model = model()
    before = str(model)
    assert raised(mn.RuleError, lambda: mn.rewrite(model, rules, example=X)) == text
    assert str(model) == before


def test_a_candidate_that_does_not_run(caplog):
    text = raised(mn.RuleError, lambda: mn.rewrite(net(), [replace(nn.Conv2d, [misfit], where="0")], example=X))
    assert text.startswith("candidate 'misfit' of '0' does not run on its input (1, 3, 8, 8): ")
    assert not caplog.records


@pytest.mark.parametrize(
    ("model", "example", "text"),
    [
        ("net", X, "rewrite is given a str; expected a torch.nn.Module"),
        (
            net(),
            torch.randn(1, 4, 8, 8),
            "the model Sequential does not run on example=Tensor(1, 4, 8, 8) torch.float32 on cpu: RuntimeError: "
            "Given groups=1, weight of size [8, 3, 3, 3], expected input[1, 4, 8, 8] to have 3 channels, but got 4 "
            "channels instead",
        ),
        (
            net(),
            {"y": X},
            "the model Sequential does not run on example={'y': 'Tensor(1, 3, 8, 8) torch.float32 on cpu'}: "
            "TypeError: Sequential.forward() got an unexpected keyword argument 'y'",
        ),
    ],
)
def test_models_that_cannot_be_read(model, example, text):
    assert raised(mn.NetworkError, lambda: mn.rewrite(model, [kernel_size(3, 5)], example=example)) == text


def test_the_cause_of_a_failed_forward_is_chained():
    with pytest.raises(mn.NetworkError) as found:
        mn.rewrite(net(), [kernel_size(3, 5)], example=torch.randn(1, 4, 8, 8))
    assert isinstance(found.value.__cause__, RuntimeError)


def test_an_error_of_a_predicate_passes_through():
    def where(path, module):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="^mine$"):
        mn.rewrite(net(), [kernel_size(3, 5, where=where)], example=X)


def test_a_supernet_is_not_rewritten_again(supernet):
    text = raised(mn.NetworkError, lambda: mn.rewrite(supernet, [kernel_size(3, 5)], example=X))
    assert text == "rewrite is given a supernet; give the model and all rules at once"


def test_a_slot_that_is_called():
    assert raised(mn.NetworkError, lambda: mn.Slot(3, 8)(X)) == (
        "a Slot(3, 8) was called before it was opened; rewrite the model with mn.rules.slots([...]) first"
    )


@pytest.mark.parametrize("use", ["activate", "derive", "cost"])
@pytest.mark.parametrize(
    ("point", "text"),
    [
        (
            {"0.kernel_size": 3, "1.op": "SiLU"},
            "decision '2.kernel_size' is missing; expected one of (3, 5)",
        ),
        (
            {"0.kernel_size": 3, "1.op": "SiLU", "2.kernel_size": 3, "x": 1},
            "the space has no decision 'x'; known: '0.kernel_size', '1.op', '2.kernel_size'",
        ),
        (
            {"0.kernel_size": 9, "1.op": "SiLU", "2.kernel_size": 3},
            "decision '0.kernel_size' is given 9; expected one of (3, 5)",
        ),
        (
            mn.SearchSpace({"a": mn.choice([1, 2])}).sample(seed=0),
            "the space has no decision 'a'; known: '0.kernel_size', '1.op', '2.kernel_size'",
        ),
    ],
)
def test_points_that_do_not_fit(supernet, use, point, text):
    active = supernet.active_point
    assert raised(mn.SpaceError, lambda: getattr(supernet, use)(point)) == text
    assert supernet.active_point == active


def test_what_is_no_point(supernet):
    text = "a point is given as a int; expected a Point or a dict of decision name to value"
    assert raised(mn.SpaceError, lambda: supernet.activate(3)) == text


def test_indices_that_do_not_fit(supernet):
    text = "indices have shape (3, 2); expected (n, 3), one column a decision"
    assert raised(mn.SpaceError, lambda: supernet.cost(np.zeros((3, 2), np.int32))) == text
    text = "indices have shape (3,); expected (n, 3), one column a decision"
    assert raised(mn.SpaceError, lambda: supernet.cost(np.zeros(3, np.int32))) == text
    text = "row 0 has code 9 for decision 0; expected 0 to 1"
    assert raised(mn.SpaceError, lambda: supernet.cost(np.full((1, 3), 9, np.int32))) == text


def test_other_misuse(supernet):
    text = "derive is given a Sequential; expected a supernet from mn.rewrite"
    assert raised(mn.NetworkError, lambda: mn.derive(net(), {})) == text
    text = (
        "sampling is given 'best'; expected one of 'uniform', 'fair', 'sandwich', 'attentive', 'progressive', "
        "'weights_only', a strategy of mn.train, or None"
    )
    assert raised(mn.SpaceError, lambda: supernet.sampling("best")) == text
