"""Masked supernets: the law, norms, gradients, one compiled graph for all points."""

import copy

import pytest
import torch
from torch import nn

import modularnas as mn

X = torch.randn(4, 3, 12, 12)
width, kernel_size, depth = mn.rules.width, mn.rules.kernel_size, mn.rules.depth


def convs(norm=nn.BatchNorm2d):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        norm(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.PReLU(8),
        nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
        norm(12),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(12 * 36, 5),
    )


class Attention(nn.Module):
    """A transformer block whose scale is its own."""

    def __init__(self, features=16, heads=4, norm=nn.LayerNorm):
        super().__init__()
        self.heads = heads
        self.scale = (features // heads) ** -0.5
        self.norm = norm(features)
        self.q, self.k, self.v = (nn.Linear(features, features) for _ in range(3))
        self.out = nn.Linear(features, features)

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (f(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-1, -2) * self.scale).softmax(-1)
        return x + self.out((weights @ v).transpose(1, 2).flatten(2))


def transformer(norm=nn.LayerNorm):
    return nn.Sequential(nn.Linear(6, 16), Attention(norm=norm), Attention(norm=norm), nn.Linear(16, 3))


def blocks():
    """Blocks that may be left out, with batch norms inside."""

    def block():
        return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())

    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(block(), block(), block()), nn.Conv2d(8, 4, 1))


def both(net, rules, x):
    """The same network as a masked and as a sliced supernet."""
    net.train()
    with torch.no_grad():
        for _ in range(2):
            net(x)
    supernets = []
    for mode in ("masked", "sliced"):
        torch.manual_seed(7)  # candidates are initialised alike
        supernets.append(mn.rewrite(copy.deepcopy(net), rules, example=x, mode=mode))
    return supernets


CASES = {
    "batch norm": (convs, [width(0.5, 0.75, 1.0), kernel_size(3, 5)], X),
    "group norm": (lambda: convs(lambda n: nn.GroupNorm(4, n)), [width(0.5, 1.0), kernel_size(3, 5)], X),
    "batch norm without scale": (lambda: convs(lambda n: nn.BatchNorm2d(n, affine=False)), [width(0.5, 1.0)], X),
    "layer norm": (transformer, [width(0.5, 1.0)], torch.randn(4, 5, 6)),
    "rms norm": (lambda: transformer(nn.RMSNorm), [width(0.5, 1.0)], torch.randn(4, 5, 6)),
    "depth": (blocks, [depth(where="1.*"), kernel_size(3, 5)], X),
    "ops": (
        convs,
        [mn.rules.replace(nn.ReLU, ["original", nn.SiLU, "nor_conv_3x3"]), kernel_size(3, 5)],
        X,
    ),
    "kernels of every kind": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 5, padding=2, padding_mode="circular"),
            nn.Conv2d(4, 4, 3, padding="same", dilation=2),
            nn.Conv2d(4, 4, 7, padding=3, stride=2),
        ),
        [kernel_size(3, 5)],
        X,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_law(case):
    net, rules, x = CASES[case]
    masked, sliced = both(net(), rules, x)
    assert masked.space == sliced.space
    masked.eval(), sliced.eval()
    for point in masked.space.samples(8, seed=1):
        out = masked.activate(point)(x)
        torch.testing.assert_close(out, sliced.activate(point)(x), rtol=1e-4, atol=1e-5)
        small = mn.derive(masked, point).eval()
        torch.testing.assert_close(out, small(x), rtol=1e-4, atol=1e-5)
        assert not any(type(module).__module__.startswith("modularnas") for module in small.modules())
        assert small.state_dict().keys() == mn.derive(sliced, point).state_dict().keys()


@pytest.mark.parametrize("case", CASES)
def test_training_is_the_same(case):
    """Outputs in train mode, gradients and running statistics are those of the sliced form."""
    net, rules, x = CASES[case]
    masked, sliced = both(net(), rules, x)
    for point in masked.space.samples(4, seed=2):
        outs = []
        for supernet in (masked, sliced):
            supernet.train().zero_grad()
            out = supernet.activate(point)(x)
            (out - 1).square().mean().backward()
            outs.append(out)
        torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-5)
        for (name, a), b in zip(masked.named_parameters(), sliced.parameters(), strict=True):
            missing = torch.zeros_like(b) if b.grad is None else b.grad
            given = torch.zeros_like(a) if a.grad is None else a.grad
            torch.testing.assert_close(given, missing, rtol=1e-3, atol=1e-5, msg=name)
        assert masked.state_dict().keys() == sliced.state_dict().keys()
        for (name, a), b in zip(masked.state_dict().items(), sliced.state_dict().values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


def test_what_masks_cannot_do_stays_closed_and_is_reported():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
            self.c = nn.Conv2d(1, 4, 1)

        def forward(self, x):
            return self.c(self.b(self.a(x)).mean(1, keepdim=True))

    sliced = mn.rewrite(Counts(), [width(0.5, 1.0)], example=X)
    masked = mn.rewrite(Counts(), [width(0.5, 1.0)], example=X, mode="masked")
    assert [d.name for d in sliced.space.decisions] == ["a.width", "b.width"]
    assert [d.name for d in masked.space.decisions] == ["a.width"]
    assert "with masks the output is off by" in str(masked.report())


def test_an_unknown_mode():
    with pytest.raises(mn.RuleError, match="mode='mask'; expected 'sliced' or 'masked'"):
        mn.rewrite(convs(), [width(0.5, 1.0)], example=X, mode="mask")


def test_masks_are_outside_of_the_state_dict_and_follow_the_device_and_type():
    masked = mn.rewrite(convs(), [width(0.5, 1.0)], example=X, mode="masked").eval()
    assert not any("mask" in name for name in masked.state_dict())
    point = masked.space.sample(seed=1)
    half = copy.deepcopy(masked).double().activate(point)
    torch.testing.assert_close(half(X.double()).float(), masked.activate(point)(X), rtol=1e-4, atol=1e-5)
    meta = copy.deepcopy(masked).to("meta").activate(point)
    assert meta(X.to("meta")).shape == (4, 5)


def test_a_hundred_points_are_one_graph():
    masked, _ = both(blocks(), [depth(where="1.*"), kernel_size(3, 5)], X)
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    for mode in (True, False):
        torch.compiler.reset()
        graphs.clear()
        compiled = torch.compile(masked.train(mode), backend=count, fullgraph=True)
        for point in masked.space.samples(100, seed=0):
            masked.activate(point)
            compiled(X)
        assert len(graphs) == 1
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own
def test_inductor():
    """Real code for the processor: a masked supernet, trained over points; a sliced one, one point at a time."""
    masked, sliced = both(convs(), [width(0.5, 1.0), kernel_size(3, 5)], X)
    compiled = torch.compile(masked.train(), fullgraph=True)
    for point in masked.space.samples(3, seed=0):
        masked.zero_grad(), sliced.zero_grad()
        compiled(
            X,
        ).square().mean().backward() if masked.activate(point) else None
        sliced.train().activate(point)(X).square().mean().backward()
        for a, b in zip(masked.parameters(), sliced.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)
    masked.eval(), sliced.eval()
    fixed = torch.compile(sliced, fullgraph=True)
    for point in masked.space.samples(3, seed=1):
        sliced.activate(point)
        # No stale graph: another point gives that point's values.
        torch.testing.assert_close(fixed(X), mn.derive(sliced, point).eval()(X), rtol=1e-4, atol=1e-5)
    torch.compiler.reset()


def test_compiling_a_sliced_supernet_leaves_no_stale_graph():
    sliced = mn.rewrite(convs(), [width(0.5, 1.0), kernel_size(3, 5)], example=X).eval()
    torch.compiler.reset()
    compiled = torch.compile(sliced, backend="eager", fullgraph=True)
    for point in sliced.space.samples(4, seed=1):
        sliced.activate(point)
        torch.testing.assert_close(compiled(X), mn.derive(sliced, point).eval()(X), rtol=1e-4, atol=1e-5)
    torch.compiler.reset()
