"""Fused forms: outputs, buffers and all gradients equal the plain form's; less is computed; what has no form falls back."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import modularnas as mn
from modularnas.nn import fuse
from modularnas.nn.fuse import Fused

CONVS = ["conv_1x1", "conv_3x3", "conv_5x5", "conv_3x3_d2", "conv_3x3_g2", "dw_conv_3x3"]
OTHERS = [
    "identity",
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "sep_conv_3x3",
    "dil_conv_3x3",
    "max_pool_3x3_bn",
    "skip_connect",
]
OTHERS += ["nor_conv_3x3", "nor_conv_1x1", "conv_bn_relu_3x3", "batch_norm", "global_avg_pool", "relu"]


class Net(nn.Module):
    """Two slots on one input, so that something can be shared."""

    def __init__(self, stride=1):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.left, self.right = mn.Slot(4, 4, stride), mn.Slot(4, 4, stride)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.left(x) + self.right(x))


@pytest.fixture
def without_kernels(monkeypatch):
    """The forms of torch's own operators, as on another device."""
    monkeypatch.setattr(fuse, "takes", lambda chain, x: False)


def pair(candidates, stride=1, size=8, net=Net):
    torch.manual_seed(1)
    base = net(stride).double()
    x = torch.randn(3, 3, size, size, dtype=torch.float64)
    made = [mn.rewrite(base, [mn.rules.slots(list(candidates))], example=x, fuse=fuse) for fuse in (False, True)]
    made[1].load_state_dict(made[0].state_dict())
    for module in made[0].modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
    return *made, x


def relax(nets, name="softmax", **settings):
    generator = torch.Generator().manual_seed(2)
    for net in nets:
        net.relax(name, **settings)
    with torch.no_grad():
        for key in nets[0].alpha:
            values = torch.randn(nets[0].alpha[key].shape, generator=generator, dtype=torch.float64)
            for net in nets:
                net.alpha[key].copy_(values)


def compare(plain, fused, x):
    found = []
    for net in (plain, fused):
        net.zero_grad()
        given = x.clone().requires_grad_()
        out = net(given)
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
        gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in net.named_parameters()}
        found.append((out, given.grad, gradients, dict(net.named_buffers())))
    torch.testing.assert_close(found[1], found[0])


@settings(max_examples=25, deadline=None)
@given(
    candidates=st.lists(st.sampled_from(CONVS + OTHERS), min_size=1, max_size=6, unique=True).filter(
        lambda names: not {"identity", "skip_connect"} <= {*names}
    ),
    stride=st.sampled_from([1, 2]),
    size=st.sampled_from([6, 8]),
    train=st.booleans(),
)
def test_fused_forms_equal_the_plain_ones(candidates, stride, size, train):
    if stride == 2:
        candidates = [name for name in candidates if name != "dw_conv_3x3"] or ["conv_1x1"]
    plain, fused, x = pair(candidates, stride, size)
    relax((plain, fused))
    for net in (plain, fused):
        net.train(train)
    for _ in range(2):
        compare(plain, fused, x)


@pytest.mark.parametrize(
    "name", ["gumbel", "sigmoid", "dirichlet", "straight_through", "binary_gate", "reinmax", "index"]
)
def test_every_relaxation_has_the_same_value_in_both_forms(name):
    plain, fused, x = pair([*CONVS[:3], "identity", "sep_conv_3x3", "none"])
    relax((plain, fused), name)
    for net in (plain.train(), fused.train()):
        assert net.training
    for _ in range(4):
        compare(plain, fused, x)


def test_some_candidates_alone_keep_their_form():
    plain, fused, x = pair(["conv_3x3", "conv_5x5", "conv_3x3_d2", "identity", "none"])
    for kept in (["conv_3x3"], ["conv_3x3_d2", "identity"], ["identity"], ["none"], ["conv_5x5", "identity", "none"]):
        relax((plain, fused), candidates={"left.op": kept})
        compare(plain, fused, x)


def test_second_derivatives_are_the_same():
    plain, fused, x = pair(["conv_3x3", "conv_5x5", "identity", "sep_conv_3x3", "avg_pool_3x3"])
    relax((plain, fused))
    found = []
    for net in (plain.train(), fused.train()):
        alphas = list(net.alpha.values())
        loss = net(x).square().mean()
        gradients = torch.autograd.grad(loss, alphas, create_graph=True)
        weights = list(net.model.parameters())
        found.append(torch.autograd.grad(sum(g.square().sum() for g in gradients), alphas + weights, allow_unused=True))
    torch.testing.assert_close(found[0], found[1])


class Calls(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def calls(net, x):
    with Calls() as counter:
        net(x)
    return counter.seen


def test_linear_candidates_are_one_convolution(without_kernels):
    plain, fused, x = pair(["conv_1x1", "conv_3x3", "conv_5x5", "identity", "none"])
    relax((plain, fused))
    assert calls(plain, x).count("convolution") == 2 + 2 * 3
    assert calls(fused, x).count("convolution") == 2 + 2 * 1
    assert "merged into one kernel: conv_1x1, conv_3x3, conv_5x5, identity" in str(fused.report())
    assert "merged" not in str(plain.report())


def test_dilated_kernels_are_merged_only_where_that_is_no_more_work():
    _, fused, _ = pair(["conv_3x3", "conv_3x3_d2"])
    assert "merged" not in fused.model.left.form.note  # 25 taps against 18
    _, fused, _ = pair(["conv_3x3", "conv_5x5", "conv_3x3_d2"])
    assert "merged into one kernel: conv_3x3, conv_5x5, conv_3x3_d2" in fused.model.left.form.note


def test_stages_without_parameters_run_once_an_input(without_kernels):
    plain, fused, x = pair(["sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "nor_conv_3x3"])
    relax((plain, fused))
    pool = "max_pool2d_with_indices"
    assert (calls(plain, x).count("relu"), calls(plain, x).count(pool)) == (8, 2)
    assert (calls(fused, x).count("relu"), calls(fused, x).count(pool)) == (1 + 2, 1)  # sep_conv's second is its own
    assert not fused._shared._known


def test_a_changed_input_is_another_input():
    class Changing(Net):
        def forward(self, x):
            x = self.stem(x)
            left = self.left(x)
            x = x.mul_(2.0)
            return self.head(left + self.right(x))

    plain, fused, x = pair(["nor_conv_3x3", "avg_pool_3x3"], net=Changing)
    relax((plain, fused))
    with torch.no_grad():
        torch.testing.assert_close(fused(x), plain(x))


def test_no_product_is_kept_for_the_backward_pass(without_kernels):
    plain, fused, x = pair(["sep_conv_3x3", "conv_3x3", "max_pool_3x3_bn", "identity"])
    relax((plain, fused))
    kept = []
    for net in (plain.train(), fused.train()):
        total = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, total=total: (total.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}), t)[1],
            lambda t: t,
        ):
            out = net(x)
        kept.append(sum(total.values()))
        del out
    assert kept[1] < 0.75 * kept[0]


def test_hooks_are_called():
    plain, fused, x = pair(["conv_1x1", "conv_3x3", "sep_conv_3x3"])
    relax((plain, fused))
    seen = []
    fused.model.left.candidates[0].register_forward_hook(lambda *_: seen.append("conv"))
    fused.model.left.candidates[2][0].register_forward_hook(lambda *_: seen.append("relu"))
    compare(plain, fused, x)
    assert sorted(seen) == ["conv", "relu"]


def test_candidates_of_other_outputs_keep_the_plain_form():
    class Twice(nn.Module):
        def forward(self, x):
            return x, 2 * x

    net = nn.Sequential(nn.Identity(), Twice())
    made = mn.rewrite(net, [mn.rules.replace(Twice, ["original", Twice])], example=torch.randn(1, 3))
    made.relax("softmax")
    first, second = made(torch.ones(1, 3))
    torch.testing.assert_close(second, 2 * first)


@pytest.mark.parametrize("kind", ["channels_last", "autocast", "deepcopy", "inference", "checkpoint"])
def test_everyday_uses(kind):
    plain, fused, x = pair(["conv_3x3", "identity", "sep_conv_3x3", "avg_pool_3x3_bn"])
    relax((plain, fused))
    if kind == "channels_last":
        fused = fused.to(memory_format=torch.channels_last)
        compare(plain.train(), fused.train(), x.to(memory_format=torch.channels_last))
    elif kind == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            a, b = plain.float().train()(x.float()), fused.float().train()(x.float())
            b.square().sum().backward()
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.1)
    elif kind == "deepcopy":
        clone = copy.deepcopy(fused)
        with torch.no_grad():
            for p in clone.parameters():
                p.zero_()
        assert clone(x).abs().sum() == 0
        compare(plain, fused, x)
        assert isinstance(clone.model.left.form, Fused)
        assert clone.model.left.form.shared is clone._shared
    elif kind == "inference":
        with torch.inference_mode():
            torch.testing.assert_close(plain.eval()(x), fused.eval()(x))
    else:
        body = copy.deepcopy(fused)
        out = torch.utils.checkpoint.checkpoint(body, x, use_reentrant=False)
        out.square().sum().backward()
        fused(x).square().sum().backward()
        torch.testing.assert_close(
            body.model.left.candidates[0].weight.grad, fused.model.left.candidates[0].weight.grad
        )


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch hides its own, unless it is an error
def test_compiled_relaxed_networks_agree():
    plain, fused, x = pair(["conv_3x3", "conv_5x5", "identity", "nor_conv_3x3", "max_pool_3x3"])
    relax((plain, fused))
    compiled = torch.compile(fused.eval(), backend="aot_eager")
    torch.testing.assert_close(compiled(x), plain.eval()(x))


def test_a_cumulative_average_of_a_norm_is_kept():
    plain, fused, x = pair(["nor_conv_3x3", "sep_conv_3x3"])
    for net in (plain.train(), fused.train()):
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
    relax((plain, fused))
    for _ in range(3):
        compare(plain, fused, x)
