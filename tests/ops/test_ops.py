"""Candidate ops: the registry, the shapes that they give in every slot, and the forms of doing nothing."""

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.ops import identity

SHAPES = {1: (2, 4, 12), 2: (2, 4, 12, 10), 3: (2, 4, 6, 6, 6)}
FAMILIES = [
    *(
        "activation",
        "attention",
        "conv",
        "depthwise",
        "factorized",
        "feed_forward",
        "identity",
        "interaction",
        "linear",
    ),
    *("mbconv", "none", "norm", "pool", "resnet", "separable", "shuffle", "squeeze_excite"),
]


def slot(in_channels=4, out_channels=4, stride=1, shape=SHAPES[2], **settings):
    made = mn.Slot(in_channels, out_channels, stride, **settings)
    made.input_shape = torch.Size(shape)
    return made


def test_names_are_sorted_and_of_every_family():
    assert mn.ops.names() == sorted(mn.ops.names())
    assert {mn.ops.describe(name).family for name in mn.ops.names()} == set(FAMILIES)


@pytest.mark.parametrize(("name", "dims"), [(name, dims) for dims in SHAPES for name in mn.ops.names(f"{dims}d")])
@pytest.mark.parametrize(("out_channels", "stride"), [(4, 1), (4, 2), (6, 1), (6, 2)])
def test_shapes(name, dims, out_channels, stride):
    shape = SHAPES[dims]
    op = mn.ops.build(name, slot(4, out_channels, stride, shape))
    x = torch.randn(shape, requires_grad=True)
    out = op(x)
    assert out.shape == (2, out_channels, *(-(-n // stride) for n in shape[2:]))
    out.sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is not None for parameter in op.parameters())


@pytest.mark.parametrize("name", mn.ops.names("2d"))
def test_odd_sizes_and_uneven_strides(name):
    shape = (2, 4, 13, 9)
    assert mn.ops.build(name, slot(4, 6, (1, 2), shape))(torch.randn(shape)).shape == (2, 6, 13, 5)
    assert mn.ops.build(name, slot(4, 6, 2, shape))(torch.randn(shape)).shape == (2, 6, 7, 5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("out_channels", [4, 6])
def test_none_gives_zeros_with_a_gradient(stride, out_channels):
    x = torch.randn(SHAPES[2], requires_grad=True)
    out = mn.ops.build("none", slot(4, out_channels, stride))(x)
    assert not out.any()
    out.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_the_identity_is_the_cheapest_that_fits():
    assert type(mn.ops.build("identity", slot())) is nn.Identity
    assert type(mn.ops.build("identity", slot(stride=(1, 1)))) is nn.Identity
    assert type(mn.ops.build("identity", slot(stride=2))) is identity.FactorizedReduce
    for other in (slot(4, 6), slot(stride=2, shape=(2, 4, 7, 8)), slot(stride=(1, 2)), slot(4, 1, 2)):
        projection, norm = mn.ops.build("identity", other)
        assert projection.kernel_size == (1, 1)
        assert isinstance(norm, nn.BatchNorm2d)
    vectors = slot(4, 6, shape=(2, 4))
    assert type(mn.ops.build("identity", vectors)) is nn.Linear


def test_the_factorized_reduction_sees_the_pixels_that_a_stride_skips():
    op = mn.ops.build("identity", slot(stride=2)).eval()
    x = torch.rand(1, 4, 4, 4, requires_grad=True)
    op(x).square().sum().backward()
    touched = x.grad.abs().sum((0, 1)) > 0
    assert touched.sum() == 8  # the even pixels and their odd neighbours on the diagonal


def test_the_bias_follows_the_slot():
    for name in ("conv_3x3", "dw_conv_3x3"):
        for bias in (True, False):
            op = mn.ops.build(name, slot(bias=bias))
            last = op[-1] if isinstance(op, nn.Sequential) else op
            assert (last.bias is not None) == bias


def test_average_pooling_does_not_count_the_padding():
    x = torch.ones(SHAPES[2])
    torch.testing.assert_close(mn.ops.build("avg_pool_3x3", slot())(x), x)


def test_a_pool_that_changes_channels_is_followed_by_a_projection():
    op = mn.ops.build("max_pool_3x3", slot(4, 6, 2))
    assert [type(part) for part in op] == [nn.MaxPool2d, nn.Conv2d]


def test_ops_see_the_place_they_are_for():
    seen = []

    def look(slot):
        seen.append(slot)
        return nn.Conv2d(slot.in_channels, slot.out_channels, slot.kernel_size, slot.stride, padding=2, bias=slot.bias)

    given = nn.Conv2d(4, 6, 5, stride=2, padding=2, bias=False)
    mn.rewrite(given, [mn.rules.replace(nn.Conv2d, ["original", look])], example=torch.randn(SHAPES[2]))
    (found,) = seen
    assert (found.in_channels, found.out_channels, found.stride, found.kernel_size) == (4, 6, 2, 5)
    assert found.bias is False
    assert (found.input_shape, found.output_shape, found.dims) == ((2, 4, 12, 10), (2, 6, 6, 5), 2)
    assert torch.equal(found.original.weight, given.weight)
    assert found.original is not given
    assert mn.Slot(3, 4).original is None


def test_registering_again_replaces():
    try:
        mn.ops.register("mine")(lambda slot: nn.Identity())
        second = mn.ops.register("mine")(lambda slot: nn.ReLU())
        assert mn.ops.find("mine") is second
        assert type(mn.ops.build("mine", slot())) is nn.ReLU
        assert "mine" in mn.ops.names()
    finally:
        mn.ops.registry._OPS.pop("mine", None)


def test_an_unknown_op():
    with pytest.raises(mn.RuleError) as found:
        mn.ops.find("max_pool")
    assert (
        str(found.value)
        == "there is no candidate op 'max_pool'; did you mean 'max_pool_5x5' or 'max_pool_3x3' or 'max_pool_3x3_bn'?"
    )


def test_an_op_in_a_slot_without_spatial_dimensions():
    with pytest.raises(mn.RuleError) as found:
        mn.ops.build("max_pool_3x3", slot(shape=(2, 4)))
    assert str(found.value) == (
        "an op with a max_pool is meant for inputs (N, C, …) of 1 to 3 spatial dimensions, not 0"
    )


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("max_pool_4x4", slot(), "a pooling window of 4 is even; expected an odd one, which has a middle"),
        ("conv_3x3_g3", slot(), "4 and 4 channels cannot be split into 3 groups"),
        ("group_norm_g3", slot(), "4 channels cannot be split into 3 groups"),
        ("shuffle_3x3", slot(4, 5), "a shuffle unit is given 5 output channels; expected an even number"),
        (
            "conv_1x7_7x1",
            slot(shape=SHAPES[1]),
            "a factorized convolution is meant for inputs (N, C, H, W), not 1 dimensions",
        ),
        (
            "attention_h3",
            slot(shape=(2, 5, 4), layout="features"),
            "4 features cannot be split among 3 heads",
        ),
        (
            "attention_h4_kv3",
            slot(shape=(2, 5, 4), layout="features"),
            "4 heads cannot share 3 keys and values; expected a divisor",
        ),
        (
            "attention_h4",
            slot(shape=(2, 4), layout="features"),
            "this op is meant for inputs (N, L, features), not for a slot of layout 'features', input (2, 4)",
        ),
        (
            "ffn_e4",
            slot(),
            "this op is meant for inputs (N, …, features), not for a slot of layout 'channels', input (2, 4, 12, 10); a placeholder for it is mn.Slot(in, out, layout='features')",
        ),
        (
            "fm",
            slot(),
            "this op is meant for inputs (N, fields, dim) of which one vector is made, not for a slot of layout 'channels', input (2, 4, 12, 10); a placeholder for it is mn.Slot(fields, out, layout='fields')",
        ),
        (
            "inner_product",
            slot(1, 8, shape=(2, 1, 4), layout="fields"),
            "an inner product is given 1 field; expected 2 or more",
        ),
    ],
)
def test_an_op_that_cannot_be_in_a_slot(name, given, text):
    with pytest.raises(mn.RuleError) as found:
        mn.ops.build(name, given)
    assert str(found.value) == text


def test_slots_of_other_layouts():
    tokens = nn.Sequential(mn.Slot(8, 12, layout="features"), nn.Flatten(), nn.Linear(60, 3))
    x = torch.randn(2, 5, 8)
    ops = ["attention_h4", "swiglu_e2", "low_rank_r2", "none", "identity", "gelu", "layer_norm"]
    supernet = mn.rewrite(tokens, [mn.rules.slots(ops)], example=x)
    for name in ops:
        assert supernet.activate({"0.op": name})(x).shape == (2, 3)
    branch = nn.Sequential(mn.Slot(5, 6, layout="fields"), nn.Linear(6, 1))
    ops = mn.ops.names("fields")
    supernet = mn.rewrite(branch, [mn.rules.slots(ops)], example=x)
    for name in ops:
        assert supernet.activate({"0.op": name})(x).shape == (2, 1)
    assert repr(branch[0]) == "Slot(5, 6, stride=1, layout='fields')"


def test_the_layout_of_a_given_module_is_that_of_its_layers():
    seen = []

    def look(slot):
        seen.append((slot.layout, slot.in_channels, slot.out_channels, slot.dims))
        return slot.original

    net = nn.Sequential(
        nn.Conv1d(6, 8, 3, padding=1),
        nn.TransformerEncoderLayer(10, 2, 8, batch_first=True),
        nn.Sequential(nn.LayerNorm(10), nn.Linear(10, 7)),
        nn.Flatten(),
    )
    mn.rewrite(net, [mn.rules.replace(nn.Module, [look], where=["0", "1", "2"])], example=torch.randn(2, 6, 10))
    assert seen == [("channels", 6, 8, 1), ("features", 10, 10, 0), ("features", 10, 7, 0)]


def test_a_transformer_layer_is_replaced():
    net = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)).eval()
    x = torch.randn(2, 5, 8)
    ops = ["original", "transformer_h4_e4", "linear_attention_h2", "identity"]
    supernet = mn.rewrite(net, [mn.rules.replace(nn.TransformerEncoderLayer, ops)], example=x).eval()
    torch.testing.assert_close(supernet.activate(supernet.original_point)(x), net(x))
    for point in supernet.space.samples(4, seed=0):
        torch.testing.assert_close(supernet.activate(point)(x), mn.derive(supernet, point).eval()(x))
