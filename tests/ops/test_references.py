"""The ops compute what independent implementations with the same weights compute: torchvision's, torch's, formulas."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import modularnas as mn
from modularnas.ops import attention, feed_forward, interaction


def build(name, in_channels, out_channels, stride=1, *, shape=(2, 0, 9, 8), layout="channels"):
    slot = mn.Slot(in_channels, out_channels, stride, layout=layout)
    slot.input_shape = torch.Size([in_channels if n == 0 else n for n in shape])
    return mn.ops.build(name, slot), torch.randn(slot.input_shape)


def same(ours, theirs, x):
    """Fills both with the same random state, tensor by tensor, and compares outputs in both modes."""
    found, expected = list(ours.state_dict().values()), list(theirs.state_dict().values())
    assert [t.shape for t in found] == [t.shape for t in expected]
    for a, b in zip(found, expected, strict=True):
        if a.is_floating_point():
            a.copy_(torch.rand_like(a))
        b.copy_(a)
    for train in (True, False):
        torch.testing.assert_close(ours.train(train)(x), theirs.train(train)(x))


PLACES = [(16, 16, 1), (16, 24, 1), (16, 24, 2), (16, 16, 2)]


@pytest.mark.parametrize(("i", "o", "stride"), PLACES)
@pytest.mark.parametrize("e", [1, 6])
def test_mobilenet_v2(i, o, stride, e):
    models = pytest.importorskip("torchvision.models.mobilenetv2")
    ours, x = build(f"mbconv_k3_e{e}", i, o, stride)
    same(ours, models.InvertedResidual(i, o, stride, e), x)


@pytest.mark.parametrize(("i", "o", "stride"), PLACES)
@pytest.mark.parametrize(("name", "k", "se", "act"), [
    ("mbv3_k5_e6_se_hswish", 5, True, "HS"), ("mbv3_k3_e3", 3, False, "RE"), ("mbv3_k3_e1_se", 3, True, "RE"),
])  # fmt: skip
def test_mobilenet_v3(i, o, stride, name, k, se, act):
    models = pytest.importorskip("torchvision.models.mobilenetv3")
    ours, x = build(name, i, o, stride)
    config = models.InvertedResidualConfig(i, k, i * int(name.split("_e")[1][0]), o, se, act, stride, 1, 1.0)
    same(ours, models.InvertedResidual(config, nn.BatchNorm2d), x)


@pytest.mark.parametrize(("i", "o", "stride"), PLACES)
@pytest.mark.parametrize("e", [1, 4])
def test_efficient_net(i, o, stride, e):
    models = pytest.importorskip("torchvision.models.efficientnet")
    ours, x = build(f"mbconv_k5_e{e}_se_silu", i, o, stride)
    same(ours, models.MBConv(models.MBConvConfig(e, 5, stride, i, o, 1), 0.0, nn.BatchNorm2d), x)
    ours, x = build(f"fused_mbconv_k3_e{e}", i, o, stride)
    same(ours, models.FusedMBConv(models.FusedMBConvConfig(e, 3, stride, i, o, 1), 0.0, nn.BatchNorm2d), x)


def downsample(i, o, stride):
    if i == o and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))


@pytest.mark.parametrize(("i", "o", "stride"), PLACES)
def test_resnet(i, o, stride):
    models = pytest.importorskip("torchvision.models.resnet")
    ours, x = build("basic_block_3x3", i, o, stride)
    same(ours, models.BasicBlock(i, o, stride, downsample(i, o, stride)), x)
    ours, x = build("bottleneck_3x3", i, o, stride)
    same(ours, models.Bottleneck(i, o // 4, stride, downsample(i, o, stride)), x)


def test_resnext():
    models = pytest.importorskip("torchvision.models.resnet")
    ours, x = build("bottleneck_3x3_r2_g32", 256, 256)
    same(ours, models.Bottleneck(256, 64, groups=32, base_width=4), x)


class PreActivation(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.downsample = downsample(i, o, stride)

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        return y + (x if self.downsample is None else self.downsample(x))


class Pyramid(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(o)
        self.stride, self.more = stride, o - i

    def forward(self, x):
        y = self.bn3(self.conv2(F.relu(self.bn2(self.conv1(self.bn1(x))))))
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True)
        return y + F.pad(x, (0, 0, 0, 0, 0, self.more))


@pytest.mark.parametrize(("i", "o", "stride"), PLACES)
def test_residual_variants(i, o, stride):
    ours, x = build("basic_block_3x3_preact", i, o, stride)
    same(ours, PreActivation(i, o, stride), x)
    ours, x = build("pyramid_block_3x3", i, o, stride)
    same(ours, Pyramid(i, o, stride), x)


def test_squeeze_and_excitation():
    tv = pytest.importorskip("torchvision.ops")
    ours, x = build("se_r4", 16, 16)
    same(ours, tv.SqueezeExcitation(16, 4), x)


@pytest.mark.parametrize(("i", "o", "stride"), [(16, 16, 1), (16, 24, 2), (16, 16, 2)])
def test_shuffle_net(i, o, stride):
    models = pytest.importorskip("torchvision.models.shufflenetv2")
    ours, x = build("shuffle_3x3", i, o, stride)
    same(ours, models.InvertedResidual(i, o, stride), x)


def test_the_xception_unit_of_spos():
    """Its branch, with half of the channels, between the halves of the shuffle."""
    ours, x = build("shuffle_x_5x5", 8, 8)
    ours.eval()
    found = ours(x).unflatten(1, (4, 2))
    torch.testing.assert_close(found[:, :, 0], x[:, :4])
    torch.testing.assert_close(found[:, :, 1], ours.branch(x[:, 4:]))
    assert [m.kernel_size for m in ours.branch if isinstance(m, nn.Conv2d)] == [(5, 5), (1, 1)] * 3


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_a_convolution_of_any_kernel_pads_as_torch_does(k, dilation):
    ours, x = build(f"conv_{k}x{k}_d{dilation}", 4, 6, shape=(2, 0, 15, 16))
    theirs = nn.Conv2d(4, 6, k, padding="same", dilation=dilation)
    same(ours, theirs, x)
    strided, x = build(f"conv_{k}x{k}_d{dilation}", 4, 6, 2, shape=(2, 0, 15, 16))
    assert strided(x).shape == (2, 6, 8, 8)


@pytest.mark.parametrize("stride", [1, 2])
def test_factorized_convolution(stride):
    ours, x = build("conv_1x7_7x1", 4, 6, stride)
    theirs = nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(4, 4, (1, 7), (1, stride), (0, 3), bias=False),
        nn.Conv2d(4, 6, (7, 1), (stride, 1), (3, 0), bias=False),
        nn.BatchNorm2d(6),
    )
    same(ours, theirs, x)


def test_group_and_dilated_convolutions():
    ours, x = build("conv_3x3_d2_g4", 8, 12, 2)
    same(ours, nn.Conv2d(8, 12, 3, 2, 2, dilation=2, groups=4), x)
    ours, x = build("dil_conv_5x5_d3", 8, 12, 2)
    depthwise = nn.Conv2d(8, 8, 5, 2, 6, dilation=3, groups=8, bias=False)
    same(ours, nn.Sequential(nn.ReLU(), depthwise, nn.Conv2d(8, 12, 1, bias=False), nn.BatchNorm2d(12)), x)


@pytest.mark.parametrize("name", ["avg", "max"])
def test_global_pooling_gives_every_position_the_same(name):
    ours, x = build(f"global_{name}_pool", 4, 4, 2)
    expected = x.mean((2, 3)) if name == "avg" else x.amax((2, 3))
    torch.testing.assert_close(ours(x), expected[:, :, None, None].expand(2, 4, 5, 4))


def heads(module, x, kv_heads):
    def split(layer, n):
        return layer(x).unflatten(-1, (n, -1)).transpose(1, 2)

    n = module.heads
    return split(module.query, n), split(module.key, kv_heads), split(module.value, kv_heads)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize(("window", "causal"), [(None, False), (None, True), (2, False), (1, True)])
def test_attention(kv_heads, window, causal):
    ours = attention.SelfAttention(16, 12, 4, kv_heads, window, causal)
    x = torch.randn(2, 7, 16)
    near = (torch.arange(7)[:, None] - torch.arange(7)).abs() <= (7 if window is None else window)
    seen = near.tril() if causal else near
    joined = F.scaled_dot_product_attention(*heads(ours, x, kv_heads), attn_mask=seen, enable_gqa=True)
    torch.testing.assert_close(ours(x), ours.project(joined.transpose(1, 2).flatten(2)))


def test_linear_attention_is_the_normalised_sum_over_all_positions():
    ours = attention.LinearAttention(16, 12, 4)
    x = torch.randn(2, 7, 16)
    q, k, v = heads(ours, x, 4)
    weights = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-2, -1)
    joined = weights / weights.sum(-1, keepdim=True) @ v
    torch.testing.assert_close(ours(x), ours.project(joined.transpose(1, 2).flatten(2)))


def test_transformer_block():
    ours, x = build("transformer_h4_e2", 16, 16, shape=(2, 7, 16), layout="features")
    theirs = nn.TransformerEncoderLayer(16, 4, 32, 0.0, "gelu", batch_first=True, norm_first=True)
    attend, feed = ours[0].branch, ours[1].branch
    ours_by_part = [attend[1].query, attend[1].key, attend[1].value]
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(torch.cat([layer.weight for layer in ours_by_part]))
        theirs.self_attn.in_proj_bias.copy_(torch.cat([layer.bias for layer in ours_by_part]))
    for a, b in [
        (attend[0], theirs.norm1), (attend[1].project, theirs.self_attn.out_proj), (feed[0], theirs.norm2),
        (feed[1][0], theirs.linear1), (feed[1][2], theirs.linear2),
    ]:  # fmt: skip
        b.load_state_dict(a.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


def test_attention_over_positions():
    ours, x = build("mhsa_h2", 8, 8)
    flat = x.flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours(x), ours.attention(flat).transpose(1, 2).unflatten(2, (9, 8)))


@pytest.mark.parametrize(("name", "gate"), [
    ("bilinear", lambda x: x), ("geglu", F.gelu), ("reglu", F.relu), ("swiglu", F.silu), ("glu", torch.sigmoid),
])  # fmt: skip
def test_gated_feed_forward(name, gate):
    ours, x = build(f"{name}_e3", 16, 12, shape=(2, 7, 16), layout="features")
    assert isinstance(ours, feed_forward.GatedFeedForward)
    w, v, out = ours.gate.weight, ours.up.weight, ours.project.weight
    assert w.shape == (32, 16)
    torch.testing.assert_close(ours(x), (gate(x @ w.T) * (x @ v.T)) @ out.T)
    if name == "glu":
        torch.testing.assert_close(ours(x), F.glu(torch.cat([x @ v.T, x @ w.T], -1)) @ out.T)


def test_interactions():
    x = torch.randn(3, 5, 4)
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    dots = torch.stack([(x[:, i] * x[:, j]).sum(-1) for i, j in pairs], 1)
    torch.testing.assert_close(interaction.InnerProduct(5)(x), dots)
    products = sum(x[:, i, :, None] * x[:, j, None, :] for i in range(5) for j in range(5))
    torch.testing.assert_close(interaction.OuterProduct()(x), products.flatten(1))
    torch.testing.assert_close(interaction.FactorizationMachine()(x), sum(x[:, i] * x[:, j] for i, j in pairs))
    flat = x.flatten(1)
    cross = interaction.Cross(20)
    with torch.no_grad():
        cross.bias.normal_()
    crossed = (flat[:, :, None] * flat[:, None, :]) @ cross.weight.weight[0]  # x x^T w, as in the paper
    torch.testing.assert_close(cross(flat), crossed + cross.bias + flat)
