"""Names of ops: the grammar of patterns, aliases of other libraries, descriptions, and one clear error."""

import pathlib
import runpy

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.ops.aliases import ALIASES

PAGE = pathlib.Path(__file__).with_name("write_page.py")


@pytest.fixture
def registered():
    before = dict(mn.ops.registry._OPS)
    yield
    mn.ops.registry._OPS.clear()
    mn.ops.registry._OPS.update(before)


@pytest.mark.parametrize(("name", "of"), [
    ("conv_11x11", {"k": 11}), ("conv_3x3_d4_g2", {"k": 3, "dilation": 4, "groups": 2}), ("conv_3x3_g2", {"k": 3, "groups": 2}),
    ("mbconv_k9_e2", {"k": 9, "e": 2}), ("mbconv_k3_e6_se_hswish", {"k": 3, "e": 6, "se": True, "act": "hswish"}),
    ("attention_h8_kv2_w16_causal", {"heads": 8, "kv_heads": 2, "window": 16, "causal": True}),
    ("swiglu_e4", {"gate": "swiglu", "e": 4}), ("mlp", {}), ("mlp_h256", {"hidden": 256}), ("conv_1x9_9x1", {"k": 9}),
])  # fmt: skip
def test_patterns_give_their_arguments(name, of):
    found = mn.ops.find(name)
    assert getattr(found, "keywords", {}) == of


@pytest.mark.parametrize(
    "name",
    [
        "conv_3x5",
        "conv_0x0",
        "conv_03x03",
        "conv_3x3_g2_d2",
        "conv_3x3_",
        "mbconv_k3",
        "mbconv_k3_e6_tanh",
        "conv_kxk",
        "",
        "CONV_3x3",
    ],
)
def test_names_that_no_pattern_spells(name):
    with pytest.raises(mn.RuleError, match="there is no candidate op "):
        mn.ops.find(name)


def test_near_matches():
    with pytest.raises(mn.RuleError) as found:
        mn.ops.find("mbconv_3_e6")
    assert str(found.value) == (
        "there is no candidate op 'mbconv_3_e6'; did you mean 'mbconv_k3_e6' or 'mbconv_k7_e6' or 'mbconv_k5_e6'?"
    )


def test_aliases_stand_for_ops_that_there_are():
    for alias, canonical in ALIASES.items():
        name = alias.replace("{k}", "5").replace("{e}", "3")
        expected = canonical.replace("{k}", "5").replace("{e}", "3")
        assert mn.ops.describe(name).name == expected
        assert mn.ops.describe(expected).name == expected  # no alias of an alias


def test_a_space_by_the_names_of_others():
    net = nn.Sequential(mn.Slot(4, 4), mn.Slot(4, 8, stride=2))
    theirs = ["NIL", "IDT", "SC3", "DC5", "FC7", "MB3E6", "M3B5E3SH", "SHU3", "nor_conv_3x3", "3x3_MBConv6"]
    supernet = mn.rewrite(net, [mn.rules.slots(theirs)], example=torch.randn(1, 4, 8, 8))
    assert supernet.space.size == len(theirs) ** 2


def test_every_op_is_described():
    for name in mn.ops.names():
        op = mn.ops.describe(name)
        assert op.name == name
        assert op.description.endswith(".")
        assert "{" not in op.description
        assert op.inputs
        assert name in mn.ops.names(op.inputs[0])
    more = mn.ops.describe("conv_3x3_d2_g4")
    assert (more.pattern, more.family) == ("conv_{k}x{k}[_d{dilation}][_g{groups}]", "conv")
    assert more.description == "Convolution alone, kernel 3; dilation 2, groups 4."


def test_the_latest_pattern_counts(registered):
    @mn.ops.register("conv_{n}x{n}")
    def mine(slot, n):
        """With {braces}, {n} x {n}."""
        return nn.Identity()

    assert mn.ops.describe("conv_3x3").description == "With {braces}, 3 x 3."
    assert mn.ops.describe("conv_3x3_d2").family == "conv"
    mn.ops.register("conv_3x3")(lambda slot: nn.Identity())
    assert mn.ops.describe("conv_3x3").pattern == "conv_3x3"


def test_own_patterns(registered):
    @mn.ops.register("scale_{n}[_{how:up|down}][_twice]", names=["scale_2"], inputs=["1d", "2d"])
    def scale(slot, n, how="up", twice=False):
        """Scaled {how} by {n}."""
        return nn.Identity()

    assert "scale_2" in mn.ops.names("1d")
    assert "scale_2" not in mn.ops.names("3d")
    assert mn.ops.find("scale_3_down_twice").keywords == {"n": 3, "how": "down", "twice": True}
    assert mn.ops.describe("scale_3_twice") == mn.ops.Op(
        "scale_3_twice", "scale_{n}[_{how:up|down}][_twice]", "user", "Scaled up by 3; twice.", ("1d", "2d")
    )


@pytest.mark.parametrize(
    ("register", "text"),
    [
        (
            lambda: mn.ops.register("a", inputs=["4d"]),
            "the op 'a' is registered for inputs=['4d']; expected some of ['1d', '2d', '3d', 'features', 'sequence', 'fields']",
        ),
        (
            lambda: mn.Slot(3, 4, 2, layout="fields"),
            "a Slot of layout='fields' is given stride=2; only layout='channels' has one",
        ),
        (lambda: mn.ops.find(3), "an op is looked up as 3; expected a name, such as 'conv_3x3'"),
        (
            lambda: mn.ops.register("a_{k"),
            "the op 'a_{k' is no pattern (a brace without its other half); expected text, {key}, {key:word|word}, [flag] or [_d{key}]",
        ),
        (
            lambda: mn.ops.register("a_{k}", names=["b_3"]),
            "the op 'b_3' is listed for 'a_{k}', which does not spell it",
        ),
        (
            lambda: mn.ops.names("4d"),
            "names is given inputs='4d'; expected one of ['1d', '2d', '3d', 'features', 'sequence', 'fields']",
        ),
        (
            lambda: mn.Slot(3, 4, layout="last"),
            "a Slot is given layout='last'; expected one of ['channels', 'features', 'fields']",
        ),
    ],
)
def test_wrong_registrations(register, text):
    with pytest.raises(mn.ModularNASError) as found:
        register()
    assert str(found.value) == text


def test_the_page_lists_every_op():
    page = runpy.run_path(str(PAGE))
    assert page["PAGE"].read_text(encoding="utf-8") == page["write"](), "run python tests/ops/write_page.py"
