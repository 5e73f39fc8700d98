"""The law of weight sharing: what the supernet computes with a point active, the derived network computes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import modularnas as mn

kernel_size, replace = mn.rules.kernel_size, mn.rules.replace


def call(net, example):
    if isinstance(example, dict):
        return net(**example)
    return net(*example) if isinstance(example, tuple) else net(example)


def outputs(net, example):
    with torch.no_grad():
        return tree_leaves(call(net, example))


def check(net, rules, example, *, points=8, original=True):
    """Rewrites a warmed-up net and checks every promise at random points; returns the supernet."""
    if original:
        net.train()
        for _ in range(2):
            outputs(net, example)
    net.eval()
    before = copy.deepcopy(net.state_dict())
    supernet = mn.rewrite(net, rules, example=example).eval()
    assert (supernet.original_point is not None) == original
    if original:
        supernet.activate(supernet.original_point)
        torch.testing.assert_close(outputs(supernet, example), outputs(net, example), rtol=0, atol=0)
    for point in supernet.space.samples(points, seed=1):
        supernet.activate(point)
        assert supernet.active_point == point
        small = mn.derive(supernet, point).eval()
        torch.testing.assert_close(outputs(supernet, example), outputs(small, example), rtol=1e-4, atol=1e-5)
        assert not any(type(module).__module__.startswith("modularnas") for module in small.modules())
        # The counter does not know the fused attention of a CPU.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            call(small, example)
        cost = supernet.cost(point)
        assert cost["params"] == sum(parameter.numel() for parameter in small.parameters())
        assert cost["macs"] == counter.get_total_flops() // 2
    torch.testing.assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)
    return supernet


def vision(name, **settings):
    return getattr(pytest.importorskip("torchvision.models"), name)(num_classes=10, **settings)


@pytest.mark.parametrize(
    ("name", "settings", "size", "rules"),
    [
        ("resnet18", {}, 64, [kernel_size(3, 5, 7), replace(nn.ReLU, ["original", nn.SiLU])]),
        ("mobilenet_v2", {}, 32, [kernel_size(3, 5, 7), replace(nn.ReLU6, ["original", nn.Hardswish])]),
        (
            "densenet121",
            {},
            32,
            [kernel_size(3, 5, where="*denseblock1*"), replace(nn.AvgPool2d, ["original", "max_pool_3x3"])],
        ),
        (
            "googlenet",
            {"aux_logits": False, "init_weights": False},
            64,
            [kernel_size(3, 5), replace(nn.MaxPool2d, ["original", "avg_pool_3x3"], where="inception*")],
        ),
        ("shufflenet_v2_x1_0", {}, 64, [kernel_size(3, 5), replace(nn.ReLU, ["original", nn.GELU])]),
        ("efficientnet_b0", {}, 64, [kernel_size(3, 5, 7)]),
        pytest.param(
            "convnext_tiny",
            {},
            64,
            [kernel_size(3, 5, 7), replace(nn.GELU, ["original", nn.ReLU])],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "vit_b_16",
            {"image_size": 32},
            32,
            [replace(nn.GELU, ["original", nn.ReLU])],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_models_of_torchvision(name, settings, size, rules):
    check(vision(name, **settings), rules, torch.randn(2, 3, size, size), points=2)


X = torch.randn(2, 4, 12, 12)
SHAPES = {1: (2, 4, 16), 2: (2, 4, 12, 12), 3: (2, 4, 10, 10, 10)}  # every window fits after a stride
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_kernels_in_one_two_and_three_dimensions(dims):
    conv = CONVS[dims]
    net = nn.Sequential(
        conv(4, 8, 3, padding=1, stride=2, bias=False), nn.ReLU(), conv(8, 6, 3, padding=2, dilation=2, groups=2)
    )
    assert check(net, [kernel_size(3, 5)], torch.randn(SHAPES[dims])).space.size == 4


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
@pytest.mark.parametrize("padding", ["same", "given"])
def test_kernels_with_every_padding(mode, padding):
    def pad(n):
        return "same" if padding == "same" else n

    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=pad(1), padding_mode=mode),
        nn.Conv2d(8, 4, 5, padding=pad(4), dilation=2, padding_mode=mode),
    )
    assert check(net, [kernel_size(3, 5)], X).space.size == 4


def test_kernels_that_are_valid_depthwise_even_and_1x1():
    net = nn.Sequential(
        nn.Conv2d(4, 4, 5, padding="valid"),  # only smaller kernels would fit: stays as it is
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 2, padding=1, stride=2),
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 1),
    )
    rules = [kernel_size(3, 5, where=["0", "1"]), kernel_size(2, 4), kernel_size(1, 3, where="3")]
    supernet = check(net, rules, X)
    assert {d.name: d.choices for d in supernet.space.decisions} == {
        "1.kernel_size": (3, 5),
        "2.kernel_size": (2, 4),
        "3.kernel_size": (1, 3),
    }


def test_every_choice_starts_as_the_given_function():
    net = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)).eval()
    supernet = mn.rewrite(net, [kernel_size(3, 5, 7)], example=X).eval()
    for i in range(9):
        torch.testing.assert_close(supernet.activate(supernet.space.unrank(i))(X), net(X))


class Pair(nn.Module):
    def __init__(self, dims=2, stride=2):
        super().__init__()
        conv = CONVS[dims]
        self.down = conv(4, 8, 3, padding=1, stride=stride)
        self.keep = conv(8, 8, 3, padding=1, bias=False)

    def forward(self, x):
        return self.keep(self.down(x))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_registered_op(dims, stride):
    names = mn.ops.names(f"{dims}d")
    net = Pair(dims, stride).eval()
    supernet = mn.rewrite(net, [replace(CONVS[dims], names)], example=torch.randn(SHAPES[dims])).eval()
    assert supernet.space.size == len(names) ** 2
    x = torch.randn(SHAPES[dims])
    for name in names:
        point = {"down.op": name, "keep.op": name}
        small = mn.derive(supernet, point).eval()
        torch.testing.assert_close(supernet.activate(point)(x), small(x))
        assert supernet.cost(point)["params"] == sum(parameter.numel() for parameter in small.parameters())


def test_ops_on_odd_sizes_and_uneven_strides():
    check(Pair(), [replace(nn.Conv2d, ["original", *mn.ops.names("2d")])], torch.randn(2, 4, 13, 11), points=30)
    net = Pair(stride=(1, 2))
    check(net, [replace(nn.Conv2d, ["original", *mn.ops.names("2d")])], X, points=30)


def test_linear_layers_with_features_last():
    class Tokens(nn.Sequential):
        def forward(self, x):
            return super().forward(x.flatten(2).transpose(1, 2))

    net = Tokens(nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3, bias=False))
    assert check(net, [replace(nn.Linear, ["original", "identity", "none"])], X, points=27).space.size == 27


class Shared(nn.Module):
    """A convolution and an activation that are called twice, at two resolutions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.again = self.conv
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.again(nn.functional.max_pool2d(self.act(self.conv(x)), 2)))


def test_a_shared_module_is_one_decision_and_costs_each_call():
    rules = [
        kernel_size(3, 5),
        replace(nn.Conv2d, ["original", "dw_conv_3x3"]),
        replace(nn.ReLU, ["original", "conv_1x1"]),
    ]
    supernet = check(Shared(), rules, X, points=6)
    assert supernet.space.size == 6
    assert supernet.model.again is supernet.model.conv
    small = mn.derive(supernet, supernet.original_point)
    assert small.again is small.conv


def test_a_shared_parameter_outlives_one_of_its_holders():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    assert check(net, [replace(nn.Linear, ["original", "identity"], where="0")], torch.randn(2, 4)).space.size == 2
    small = mn.derive(mn.rewrite(net, [replace(nn.Linear, ["original", "identity"], where="0")], example=X[:, 0, :4, :4]),
                      {"0.op": "original"})  # fmt: skip
    assert small[0].weight is small[1].weight


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(4, 8, 3, padding=1)
        inner = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), inner)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.block(self.stem(x)).mean((2, 3)))


def test_rules_nest_inside_the_original():
    rules = [
        kernel_size(3, 5),
        replace(nn.Sequential, ["original", "identity", "none"], where=["block", "block.2"]),
        replace(nn.ReLU, ["original", nn.SiLU]),
        replace(nn.Conv2d, ["original", "sep_conv_5x5"], where="block.*"),
    ]
    supernet = check(Nested(), rules, X, points=40)
    assert supernet.space.size == 2 * (2 + 3 * (2 + 3 * 2))
    conditions = {d.name: d.active_if for d in supernet.space.decisions}
    assert conditions["stem.kernel_size"] is None
    assert conditions["block.2.0.kernel_size"] == ("block.2.0.op", ("original",))
    assert conditions["block.2.op"] == ("block.op", ("original",))


def test_a_candidate_made_of_the_original_has_its_own_copy():
    def with_tanh(slot):
        return nn.Sequential(slot.original, nn.Tanh())

    net = Nested().eval()
    rules = [replace(nn.Conv2d, ["original", with_tanh], where="stem"), kernel_size(3, 5)]
    supernet = check(net, rules, X)
    point = dict(supernet.original_point)
    del point["stem.kernel_size"]
    small = mn.derive(supernet, {**point, "stem.op": "with_tanh"})
    assert torch.equal(small.stem[0].weight, net.stem.weight)


def test_the_model_itself_can_be_what_varies():
    supernet = check(nn.Conv2d(4, 4, 3, padding=1), [kernel_size(3, 5)], X)
    assert [d.name for d in supernet.space.decisions] == ["kernel_size"]
    rules = [kernel_size(3, 5), replace(nn.Conv2d, ["original", "sep_conv_3x3"])]
    supernet = check(nn.Conv2d(4, 4, 3, padding=1), rules, X)
    assert [d.name for d in supernet.space.decisions] == ["op", "kernel_size"]


class Several(nn.Module):
    """Two inputs, a flag, and nested outputs."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(4, 8, 3, padding=1)
        self.right = nn.Conv2d(4, 8, 5, padding=2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, left, right, *, scale=1.0):
        tokens = (self.left(left) + self.right(right) * scale).flatten(2).transpose(1, 2)
        mixed, weights = self.attention(tokens, tokens, tokens)
        return {"logits": self.head(mixed), "weights": weights}, tokens


class OuterProduct(nn.Module):
    def __init__(self, slot):
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, query, key, value):
        return self.project(query) + value, query @ key.transpose(1, 2)


@pytest.mark.parametrize("example", [(X, X), {"left": X, "right": X, "scale": 2.0}])
def test_several_inputs_and_outputs(example):
    rules = [kernel_size(3, 5), replace(nn.MultiheadAttention, ["original", OuterProduct])]
    check(Several(), rules, example)


def test_slots():
    class Placeholders(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(mn.Slot(4, 8, stride=2), mn.Slot(8, 8))
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.body(x).mean((2, 3)))

    supernet = check(Placeholders(), [mn.rules.slots(["sep_conv_3x3", "max_pool_3x3", "none"])], X, original=False)
    assert supernet.space.size == 9


def test_a_module_that_remembers_things_is_left_as_it_was():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)
            self.register_buffer("mean", torch.zeros(4))
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            self.mean = self.mean * 0.5 + x.mean((0, 2, 3))
            return self.conv(x)

    net = Counting()
    mn.rewrite(net, [kernel_size(3, 5)], example=X)
    assert net.calls == 0
    assert torch.equal(net.mean, torch.zeros(4))


def test_a_model_that_cannot_run_on_fake_tensors():
    class Decides(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            return self.conv(x) if x.sum().item() < 1e9 else x

    check(Decides(), [kernel_size(3, 5)], X)


def test_inplace_rewrites_the_given_model():
    net = Nested().eval()
    conv, expected = net.stem, net(X)
    supernet = mn.rewrite(net, [kernel_size(3, 5), replace(nn.ReLU, ["original", nn.SiLU])], example=X, inplace=True)
    assert supernet.model is net
    assert net.stem is conv
    assert not supernet.training
    assert torch.equal(supernet(X), expected)
    assert torch.equal(mn.derive(supernet, supernet.original_point)(X), expected)


def test_a_failed_rewrite_in_place_leaves_the_model_alone():
    net = Nested()
    before = copy.deepcopy(net)
    with pytest.raises(mn.RuleError):
        mn.rewrite(net, [kernel_size(3, 5), replace(nn.Linear, ["conv_3x3"])], example=X, inplace=True)
    assert str(net) == str(before)
    assert net.stem.weight.shape == before.stem.weight.shape


def test_dtype_frozen_parameters_and_mode_carry_over():
    net = Nested().double()
    net.stem.weight.requires_grad_(False)
    net.block.eval()
    supernet = mn.rewrite(
        net, [kernel_size(3, 5), replace(nn.Conv2d, ["original", "conv_3x3"], where="block.0")], example=X.double()
    )
    assert {parameter.dtype for parameter in supernet.parameters()} == {torch.float64}
    assert not supernet.model.stem.weight.requires_grad
    assert supernet.training
    assert not supernet.model.block.training
    small = mn.derive(supernet, {"stem.kernel_size": 5, "block.0.op": "conv_3x3", "block.2.0.kernel_size": 3})
    assert small.stem.weight.shape == (8, 4, 5, 5)
    assert not small.stem.weight.requires_grad
    assert small(X.double()).dtype == torch.float64


def test_a_sealed_weight_stays_and_the_report_says_why():
    net = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1)),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 3, padding=1),
    )
    net[3].weight = net[2].weight
    report = str(check(net, [kernel_size(3, 5)], X).report())
    assert "its weight is computed (a parametrization or weight norm)" in report
    assert report.count("its weight is shared with another module") == 2
