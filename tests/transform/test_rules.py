"""Every rule on real models: the law, exact costs, the given network as a point, and what wrong input is told."""

import copy
import inspect
import pathlib
import pickle

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import modularnas as mn

rules = mn.rules
DOCS = pathlib.Path(__file__).parents[2] / "docs" / "rules.md"


def outputs(net, x):
    with torch.no_grad():
        return [leaf for leaf in tree_leaves(net(x)) if isinstance(leaf, torch.Tensor)]


@pytest.fixture(autouse=True)
def _plain_attention():
    """No counter sees torch's fused inference kernel."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(enabled)


def attention_flops(query, key, value, *args, out_val=None, **kwargs):
    n, heads, length, size = query
    return 2 * n * heads * length * key[2] * (size + value[3])


def macs(net, x):
    """What torch counts, and the products of its fused attention, which it does not count on a CPU."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={fused: attention_flops}) as counter:
        outputs(net, x)
    return counter.get_total_flops() // 2


def check(net, used, x, *, points=3, original=True):
    """Rewrites a net with real statistics and checks every promise at random points; returns the supernet."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    net.eval()
    supernet = mn.rewrite(net, used, example=x).eval()
    assert (supernet.original_point is not None) == original
    if original:
        supernet.activate(supernet.original_point)
        torch.testing.assert_close(outputs(supernet, x), outputs(net, x), rtol=0, atol=0)
        derived = mn.derive(supernet, supernet.original_point).eval()
        torch.testing.assert_close(outputs(derived, x), outputs(net, x), rtol=0, atol=0)
    for point in supernet.space.samples(points, seed=1):
        small = mn.derive(supernet, point).eval()
        torch.testing.assert_close(outputs(supernet.activate(point), x), outputs(small, x), rtol=1e-4, atol=1e-5)
        assert not any(type(module).__module__.startswith("modularnas") for module in small.modules())
        cost = supernet.cost(point)
        assert cost["params"] == sum(parameter.numel() for parameter in small.parameters())
        assert cost["macs"] == macs(small, x)
    return supernet


def vision(name, **settings):
    return getattr(pytest.importorskip("torchvision.models"), name)(num_classes=10, **settings)


def vit():
    models = pytest.importorskip("torchvision.models")
    return models.VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=10), torch.randn(2, 3, 32, 32)


def small_convnext():
    models = pytest.importorskip("torchvision.models.convnext")
    settings = [models.CNBlockConfig(8, 16, 2), models.CNBlockConfig(16, None, 2)]
    return models.ConvNeXt(settings, num_classes=10), torch.randn(1, 3, 32, 32)


def bert():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=50
    )
    return transformers.BertModel(config), torch.randint(0, 50, (2, 7))


def hf_vit():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=16, patch_size=4
    )
    return transformers.ViTModel(config), torch.randn(2, 3, 16, 16)


def llama():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        vocab_size=50,
    )
    return transformers.LlamaModel(config), torch.randint(0, 50, (2, 7))


def encoder():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(2, 5, 16)


class Attention(nn.Module):
    """Packed queries, keys and values, as in timm; the attribute that says the heads is all that must follow."""

    def __init__(self, n, heads):
        super().__init__()
        self.num_heads, self.head_dim = heads, n // heads
        self.qkv, self.out = nn.Linear(n, 3 * n), nn.Linear(n, n)

    def forward(self, x):
        n, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(-1) @ v
        return x + self.out(mixed.transpose(1, 2).flatten(2))


def own():
    return nn.Sequential(Attention(12, 3), Attention(12, 4)), torch.randn(3, 5, 12)


@pytest.mark.parametrize("make", [vit, bert, hf_vit, llama, encoder, own])
def test_heads(make):
    net, x = make()
    numbers = (2, 3, 4) if make is own else (2, 4)
    supernet = check(net, [rules.heads(*numbers), rules.width(0.5, 1.0)], x)
    opened = [decision for decision in supernet.space.decisions if decision.name.endswith(".heads")]
    assert len(opened) == 2
    point = {**dict(supernet.original_point), opened[0].name: 2}
    params = supernet.cost(supernet.original_point)["params"] - supernet.cost(point)["params"]
    assert params > 0


@pytest.mark.parametrize("fast", [False, True])
def test_an_attention_with_fewer_heads_fits_its_layer(fast):
    net, x = encoder()
    torch.backends.mha.set_fastpath_enabled(fast)
    supernet = mn.rewrite(net.eval(), [rules.heads(2, 4)], example=x).eval()
    point = {"layers.0.self_attn.heads": 2, "layers.1.self_attn.heads": 4}
    small = mn.derive(supernet, point).eval()
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    for twin in (small, copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert torch.allclose(supernet.activate(point)(x), twin(x), atol=1e-6)
    kept = nn.functional.linear(x, small.layers[0].self_attn.in_proj_weight, small.layers[0].self_attn.in_proj_bias)
    given = nn.functional.linear(x, net.layers[0].self_attn.in_proj_weight, net.layers[0].self_attn.in_proj_bias)
    assert torch.equal(kept[..., :8], given[..., :8])
    masked = mn.rewrite(net, [rules.heads(2, 4)], example={"src": x, "mask": causal, "is_causal": False}).eval()
    small = mn.derive(masked, point).eval()
    assert torch.allclose(
        masked.activate(point)(x, causal, is_causal=False), small(x, causal, is_causal=False), atol=1e-6
    )


def test_heads_with_a_mask_for_each_are_fixed():
    net, x = encoder()
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with pytest.raises(mn.RuleError, match="needs it whole"):
        mn.rewrite(net, [rules.heads(2, 4)], example={"src": x, "src_key_padding_mask": padding})


def test_an_attention_with_fewer_heads_keeps_its_dropout():
    net = nn.MultiheadAttention(16, 4, dropout=0.5, batch_first=True)

    class Self(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = net

        def forward(self, x):
            return self.attention(x, x, x)[0]

    x = torch.randn(2, 5, 16)
    supernet = mn.rewrite(Self().eval(), [rules.heads(2, 4)], example=x)
    small = mn.derive(supernet, {"attention.heads": 2})
    assert torch.equal(small.eval()(x), small(x))
    assert not torch.equal(small.train()(x), small(x))


@pytest.mark.parametrize(
    ("make", "used"),
    [
        (lambda: (vision("resnet18"), torch.randn(1, 3, 32, 32)), [rules.activation("relu", "silu", "prelu")]),
        (lambda: (vision("mobilenet_v2"), torch.randn(1, 3, 32, 32)), [rules.activation("relu6", "hswish")]),
        (
            lambda: (vision("mobilenet_v3_small"), torch.randn(1, 3, 32, 32)),
            [rules.activation("relu", "gelu"), rules.activation("hswish", "silu", where="features.[5-9]*")],
        ),
        (small_convnext, [rules.activation("gelu", "relu"), rules.norm("layer", "rms")]),
        (bert, [rules.activation("gelu", "relu"), rules.norm("layer", "rms")]),
        (lambda: (vision("resnet18"), torch.randn(2, 3, 32, 32)), [rules.norm("batch", "group", "layer")]),
    ],
)
def test_activations_and_norms_leave_widths_open(make, used):
    net, x = make()
    supernet = check(net, [*used, rules.width(0.5, 1.0)], x, points=2)
    names = [decision.name.rpartition(".")[2] for decision in supernet.space.decisions]
    assert used[0].data["rule"] in names
    assert "width" in names


def test_the_given_norm_keeps_its_weights_and_others_start_anew():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.LayerNorm(6), nn.GroupNorm(4, 8))
    nn.init.normal_(net[1].weight)
    used = [rules.norm("batch", "layer", "rms", "group_norm_g4", "group_norm_g3")]
    supernet = check(net, used, torch.randn(2, 3, 8, 8))
    choices = {decision.name: decision.choices for decision in supernet.space.decisions}
    # Channels come last for the layer norm; 8 channels do not make 3 groups.
    assert choices == {
        "1.norm": ("batch_norm", "layer_norm", "group_norm_g4"),
        "2.norm": ("layer_norm", "rms_norm"),
        "3.norm": ("batch_norm", "layer_norm", "group_norm_g4"),
    }
    point = dict(supernet.original_point)
    assert torch.equal(mn.derive(supernet, point)[1].weight, net[1].weight)
    assert torch.equal(mn.derive(supernet, {**point, "1.norm": "group_norm_g4"})[1].weight, torch.ones(8))


def test_pool():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1),
    )
    supernet = check(net, [rules.pool("max", "avg"), rules.width(0.5, 1.0)], torch.randn(1, 3, 17, 17), points=6)
    assert [d.name for d in supernet.space.decisions] == ["1.pool", "3.pool", "4.pool"]
    reason = next(row[3] for row in supernet.report().rows if row[0] == "2")
    assert "its windows have holes" in reason


def test_dropout_changes_training_alone():
    net = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), nn.Linear(64, 2), nn.Dropout(0.1))
    supernet = check(net, [rules.dropout(0.0, 0.5, 0.9)], torch.randn(8, 4))
    assert supernet.space.size == 3
    assert supernet.report().rows[1][3] == "dropout: its probability 0.1 is not among the choices [0.0, 0.5, 0.9]"
    supernet.activate({"1.dropout": 0.9}).train()
    small = mn.derive(supernet, {"1.dropout": 0.9})
    assert small[1].p == 0.9
    torch.manual_seed(0)
    expected = small.train()(torch.ones(8, 4))
    torch.manual_seed(0)
    assert torch.equal(supernet(torch.ones(8, 4)), expected)


def test_stochastic_depth_is_a_dropout():
    net, x = small_convnext()
    places = [name for name, m in net.named_modules() if type(m).__name__ == "StochasticDepth"]
    supernet = check(net, [rules.dropout(0.0, 0.2)], x)
    assert [d.name for d in supernet.space.decisions] == [f"{name}.dropout" for name in places] != []


def test_freeze():
    net = vision("resnet18")
    used = [rules.width(0.5, 1.0), rules.kernel_size(3, 5), rules.activation("relu", "silu"), rules.depth()]
    supernet = check(net, [*used, rules.freeze(["layer2", "bn1"])], torch.randn(1, 3, 32, 32))
    names = [decision.name for decision in supernet.space.decisions]
    assert not any(name.startswith(("layer2", "bn1")) for name in names)
    assert any(name.startswith("layer3") for name in names)
    reasons = {row[0]: row[3] for row in supernet.report().rows if row[2] == "fixed"}
    assert reasons["layer2.0.conv1"].endswith("'layer2' is frozen")
    # The stem makes what the frozen batch norm reads.
    assert "'bn1' is frozen" in str(supernet.report())
    frozen = {name for name, parameter in supernet.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all(name.startswith(("model.layer2", "model.bn1")) for name in frozen)
    assert all(parameter.requires_grad for parameter in net.parameters())
    small = mn.derive(supernet, supernet.space.sample(seed=1))
    assert not any(parameter.requires_grad for parameter in small.layer2.parameters())


def test_tied_places_are_one_decision():
    used = [
        rules.tie(rules.width(0.5, 1.0)),
        rules.tie(rules.kernel_size(3, 5), "layer1.*", "layer2.*"),
        rules.tie(rules.activation("relu", "silu"), "layer*"),
        rules.tie(rules.depth()),
    ]
    supernet = check(vision("resnet18"), used, torch.randn(1, 3, 32, 32), points=6)
    choices = {decision.name: decision.choices for decision in supernet.space.decisions}
    assert choices["width"] == (0.5, 1.0)
    assert choices["layer1.*.kernel_size"] == choices["layer2.*.kernel_size"] == (3, 5)
    assert choices["layer*.activation"] == ("relu", "silu")
    assert choices["depth"] == (1, 2)
    assert "layer3.0.conv1.kernel_size" in choices
    point = {**dict(supernet.original_point), "width": 0.5}
    small = mn.derive(supernet, point)
    assert (small.layer1[0].conv1.out_channels, small.layer4[0].conv1.out_channels) == (32, 256)


def test_places_with_other_choices_are_not_tied():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5), nn.Conv2d(8, 4, 5, padding=2))
    supernet = mn.rewrite(net, [rules.tie(rules.kernel_size(3, 5, 7))], example=torch.randn(1, 3, 12, 12))
    assert supernet.space.size == 3
    assert supernet.original_point is None  # 3 in one place and 5 in the other
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3))
    supernet = mn.rewrite(net, [rules.tie(rules.kernel_size(1, 3, 5))], example=torch.randn(1, 3, 12, 12))
    reason = next(row[3] for row in supernet.report().rows if row[2] == "fixed")
    assert supernet.space.size == 3
    assert "no other size" in reason or "it is tied to '0', whose choices are 1, 3, 5; here they are 3, 5" in reason


@pytest.mark.parametrize(
    ("make", "numbers"),
    [
        (lambda: nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, groups=2)), (1, 2, 4)),
        (lambda: nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1, bias=False)), (1, 2, 8)),
        (lambda: nn.Sequential(nn.Conv2d(8, 12, 3, groups=4), nn.BatchNorm2d(12), nn.Conv2d(12, 8, 1)), (2, 4)),
    ],
)
def test_groups(make, numbers):
    x = torch.randn(2, 8, 9, 9)
    used = [rules.groups(*numbers), rules.width(0.5, 1.0), rules.kernel_size(3, 5)]
    supernet = check(make(), used, x, points=8)
    assert any(decision.name.endswith(".groups") for decision in supernet.space.decisions)


def test_fewer_groups_start_as_the_given_function_and_more_are_blocks_of_the_kernel():
    net = nn.Sequential(nn.Conv2d(8, 12, 3, groups=2)).eval()
    x = torch.randn(2, 8, 9, 9)
    supernet = check(net, [rules.groups(1, 2, 4)], x)
    assert torch.allclose(supernet.activate({"0.groups": 1})(x), net(x), atol=1e-6)
    kernel = mn.derive(supernet, {"0.groups": 4})[0].weight
    assert torch.equal(kernel[0:3], net[0].weight[0:3, 0:2])
    assert torch.equal(kernel[3:6], net[0].weight[3:6, 2:4])
    supernet.activate({"0.groups": 4})(x).sum().backward()
    assert supernet.model[0]._parameters["weight"].grad.abs().sum() > 0


def test_resolution():
    used = [rules.resolution(24, 32, (32, 40)), rules.width(0.5, 1.0), rules.activation("relu", "silu")]
    x = torch.randn(1, 3, 32, 32)
    supernet = check(vision("resnet18"), used, x, points=6)
    point = dict(supernet.original_point)
    assert supernet.space["resolution"].choices == (24, 32, (32, 40))
    small = mn.derive(supernet, {**point, "resolution": 24})
    assert small.resize.size == (24, 24)
    x = torch.randn(1, 3, 24, 24)  # what has the size already is not resized
    assert torch.allclose(supernet.activate({**point, "resolution": 24})(x), small.net.eval()(x), atol=1e-5)


def test_resolutions_that_do_not_run_are_left_out():
    net, x = vit()
    with pytest.raises(mn.RuleError, match="no other resolution is possible"):
        mn.rewrite(net, [rules.resolution(24, 32)], example=x)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
    supernet = check(net, [rules.resolution(2, 8, 16)], torch.randn(1, 3, 16, 16))
    assert supernet.space["resolution"].choices == (8, 16)


def test_stride():
    places = [[f"layer{i}.0.conv1", f"layer{i}.0.downsample.0"] for i in (2, 3, 4)]
    used = [rules.stride((2, 2, 2), (1, 2, 2), (2, 2, 1), where=places), rules.width(0.5, 1.0)]
    supernet = check(vision("resnet18"), used, torch.randn(1, 3, 32, 32), points=5)
    assert supernet.space["layer2.0.conv1.stride"].choices == ((2, 2, 2), (1, 2, 2), (2, 2, 1))
    point = {**dict(supernet.original_point), "layer2.0.conv1.stride": (1, 2, 2)}
    assert mn.derive(supernet, point).layer2[0].downsample[0].stride == (1, 1)


def test_strides_that_do_not_fit_are_left_out():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(2))
    used = [rules.stride((2, 1, 2), (1, 2, 2), (1, 1, 2), where=["0", "1", "2"])]
    supernet = check(net, used, torch.randn(1, 3, 16, 16))
    assert supernet.space["0.stride"].choices == ((2, 1, 2), (1, 2, 2))


class Residual(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.first, self.norm, self.second = (
            nn.Conv2d(n, 2 * n, 3, padding=1),
            nn.BatchNorm2d(2 * n),
            nn.Conv2d(2 * n, n, 1),
        )

    def forward(self, x):
        return x + self.second(torch.relu(self.norm(self.first(x))))


def test_wider_than_given_starts_as_the_given_function():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), Residual(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    x = torch.randn(2, 3, 8, 8)
    supernet = check(net, [rules.width(0.5, 1.0, 1.5, 2.0), rules.kernel_size(3, 5)], x, points=12)
    wide = {**dict(supernet.original_point), "0.width": 16, "2.first.width": 24}
    assert torch.allclose(supernet.activate(wide)(x), net(x), atol=1e-5)
    assert mn.derive(supernet, wide)[0].out_channels == 16


def test_wider_models():
    check(vision("resnet18"), [rules.width(1.0, 1.25)], torch.randn(1, 3, 32, 32), points=2)
    check(
        vision("densenet121"),
        [rules.width(1.0, 1.5, where="features.denseblock1*")],
        torch.randn(1, 3, 32, 32),
        points=1,
    )


class Branches(nn.Module):
    """A cell: candidates on two ways that are added."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.down(self.a(x) + self.b(x)).mean((2, 3)))


def test_widths_go_through_candidate_ops():
    names = ["original", "identity", "none", "sep_conv_3x3", "mbconv_k3_e3_se", "max_pool_3x3", "conv_3x3"]
    used = [rules.replace(nn.Conv2d, names, where=["a", "b"]), rules.width(0.5, 1.0), rules.kernel_size(3, 5)]
    supernet = check(Branches(), used, torch.randn(2, 3, 8, 8), points=30)
    assert supernet.space["stem.width"].choices == (4, 8)
    assert supernet.space["down.width"].choices == (6, 12)
    coupled = {row[0] for row in supernet.report().rows if row[2] == "coupled" and "stem.width" in row[3]}
    assert {"a", "b", "a:conv_3x3"} <= coupled


def test_widths_go_through_placeholders():
    net = nn.Sequential(mn.Slot(3, 8), nn.ReLU(), mn.Slot(8, 8, stride=2), nn.AdaptiveAvgPool2d(1))
    net.extend([nn.Flatten(), nn.Linear(8, 5)])
    used = [rules.slots(["conv_3x3", "sep_conv_3x3", "max_pool_3x3"]), rules.width(0.5, 1.0)]
    supernet = check(net, used, torch.randn(2, 3, 8, 8), points=12, original=False)
    assert any("width" in decision.name for decision in supernet.space.decisions)


def test_a_candidate_with_a_size_in_its_forward_fixes_the_width():
    class Written(nn.Module):
        def __init__(self, slot):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            return self.conv(x.reshape(len(x), 8, 8, 8))

    used = [rules.replace(nn.Conv2d, ["original", Written], where="a"), rules.width(0.5, 1.0)]
    supernet = check(Branches(), used, torch.randn(2, 3, 8, 8), points=6)
    assert "stem.width" not in {decision.name for decision in supernet.space.decisions}
    assert "down.width" in {decision.name for decision in supernet.space.decisions}


@pytest.mark.slow
def test_all_rules_at_once():
    used = [
        rules.heads(1, 2, 4),
        rules.width(0.5, 1.0),
        rules.depth(),
        rules.activation("gelu", "relu"),
        rules.norm("layer", "rms"),
        rules.kernel_size(3, 5),
    ]
    for make in (vit, bert, hf_vit):
        net, x = make()
        check(net, used, x, points=8)
    used = [
        rules.kernel_size(3, 5),
        rules.width(0.5, 1.0, 1.25),
        rules.depth(),
        rules.tie(rules.activation("relu6", "relu")),
        rules.norm("batch", "layer", where="features.1?.*"),
        rules.groups(1, 2, where="features.*.conv.2"),
        rules.resolution(48, 64),
        rules.freeze("classifier"),
    ]
    check(vision("mobilenet_v2"), used, torch.randn(1, 3, 64, 64), points=4)


def test_rewritten_models_of_every_rule_can_be_copied_and_pickled():
    net, x = own()
    supernet = mn.rewrite(net, [rules.heads(2, 3, 4)], example=x).eval()
    point = supernet.space.sample(seed=4)
    for twin in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):
        assert torch.equal(twin.activate(point)(x), supernet.activate(point)(x))
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Dropout(0.1), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1))
    used = [rules.groups(1, 2), rules.dropout(0.0, 0.1), rules.resolution(8, 12)]
    x = torch.randn(1, 4, 12, 12)
    supernet = mn.rewrite(net, used, example=x).eval()
    for point in supernet.space.samples(4, seed=0):
        for twin in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):
            assert torch.equal(twin.activate(point)(x), supernet.activate(point)(x))


X = torch.randn(1, 3, 8, 8)


def conv():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: rules.heads(4), "heads is given (4,); expected two or more different numbers, such as 2, 4, 8"),
        (lambda: rules.heads(0, 2), "heads is given (0, 2); expected integers of 1 or more"),
        (lambda: rules.pool("max", "min"), "pool is given ('max', 'min'); expected 'max' and 'avg'"),
        (lambda: rules.dropout(0.1, 1.5), "dropout is given (0.1, 1.5); expected probabilities from 0.0 to 1.0"),
        (lambda: rules.groups(1, 1), "groups is given (1, 1); expected two or more different numbers, such as 1, 2, 4"),
        (
            lambda: rules.norm("batch", "bach"),
            "norm is given ('batch', 'bach'); expected two or more different ones of "
            "batch, layer, rms, instance, group, group_norm_g8",
        ),
        (
            lambda: rules.stride((1, 2), (2,), where=["a", "b"]),
            "stride is given (2,); expected a tuple of 2 strides, one a place of where=",
        ),
        (
            lambda: rules.tie(rules.freeze("0")),
            "tie is given freeze, which has one decision or none",
        ),
        (
            lambda: mn.rewrite(conv(), [rules.resolution(16, 32)], example=X),
            "resolution is given [16, 32], but the example has 8; give this size too",
        ),
        (
            lambda: mn.rewrite(conv(), [rules.groups(1, 2)], example=X),
            "rule 0 (groups) opens none of the 1 modules it is meant for "
            "('0': no other number of [1, 2] divides its 3 and 8 channels)",
        ),
        (
            lambda: mn.rewrite(conv(), [rules.activation("silu", "gelu")], example=X),
            "rule 0 (activation) opens none of the 1 modules it is meant for "
            "('1': its activation 'relu' is not among the choices [\"silu\", \"gelu\"])",
        ),
        (
            lambda: mn.rewrite(conv(), [rules.freeze("0")], example=X),
            "the rules only freeze; give one that opens something",
        ),
        (
            lambda: mn.rewrite(
                conv(),
                [rules.activation("relu", "silu"), rules.replace(nn.ReLU, ["original", "gelu"])],
                example=X,
            ),
            "rules 0 and 1 both open the op of '1'; narrow one by where=",
        ),
        (
            lambda: mn.rewrite(own()[0], [rules.heads(2, 5)], example=own()[1]),
            "rule 0 (heads) opens none of the 2 modules it is meant for "
            "('0': its number of heads 3 is not among the choices [2, 5]; "
            "'1': its number of heads 4 is not among the choices [2, 5])",
        ),
    ],
)
def test_wrong_input_is_explained(make, text):
    with pytest.raises(mn.RuleError) as error:
        make()
    assert str(error.value) == text


def fits(make, given):
    """Whether a call is one that the signature allows."""
    try:
        inspect.signature(make).bind(*given)
    except TypeError:
        return False
    return True


WRONG = [
    (name, wrong)
    for name in rules.__all__
    for wrong in [([3, 5],), ([3, 5], [3, 5]), ({},), (None, 3), (nn.ReLU(), 0.5)]
    if name != "Rule" and fits(rules.__dict__[name], wrong)
]


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_what_no_rule_expects_is_explained(name, wrong):
    with pytest.raises(mn.RuleError, match=f"{name}|where"):
        rules.__dict__[name](*wrong)


def test_every_rule_is_on_the_page():
    page = DOCS.read_text(encoding="utf-8")
    rows = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert rows == {name for name in rules.__all__ if name != "Rule"}
