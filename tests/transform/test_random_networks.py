"""Property test of coupling, costs and the law of weight sharing on networks that nobody wrote by hand.

A network is a list of blocks, drawn with their sizes; every way in which channels can be tied is among them: residual
adds, concatenations, splits, groups, depthwise convolutions, shuffles, gates, squeeze-and-excitation, flattened
pictures, attention heads. Whatever the rules find to vary must run at every point, as planned.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import modularnas as mn

CHANNELS = st.sampled_from([4, 6, 8, 12])
X = torch.randn(2, 3, 10, 10, dtype=torch.float64)


class Sum(nn.Module):
    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


class Concatenation(Sum):
    def forward(self, x):
        return torch.cat([x, *(branch(x) for branch in self.branches)], 1)


class Gate(Sum):
    def forward(self, x):
        first, second = (branch(x) for branch in self.branches)
        return first * torch.sigmoid(second)


class Split(nn.Module):
    """Half of the channels pass a branch, the other half stays."""

    def __init__(self, branch, sizes):
        super().__init__()
        self.branch, self.sizes = branch, sizes

    def forward(self, x):
        kept, changed = x.split(self.sizes, 1) if self.sizes else x.chunk(2, 1)
        return torch.cat([kept, self.branch(changed)], 1)


class Shuffle(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, x):
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class SqueezeExcite(nn.Module):
    def __init__(self, n, hidden):
        super().__init__()
        self.down, self.up = nn.Conv2d(n, hidden, 1), nn.Conv2d(hidden, n, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.relu(self.down(nn.functional.adaptive_avg_pool2d(x, 1)))))


class Scale(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(1, n, 1, 1))

    def forward(self, x):
        return x * self.gamma


class Tokens(nn.Module):
    """A transformer layer over the places of a picture."""

    def __init__(self, n, heads):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(n), nn.Linear(n, 3 * n), nn.Linear(n, n)
        self.mlp = nn.Sequential(nn.LayerNorm(n), nn.Linear(n, 2 * n), nn.GELU(), nn.Linear(2 * n, n))
        self.heads = heads

    def forward(self, x):
        b, _, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (
            part.view(b, h * w, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm(tokens)).chunk(3, -1)
        )
        mixed = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(b, h * w, -1))
        return (tokens + self.mlp(tokens)).transpose(1, 2).reshape(b, -1, h, w)


def conv(draw, n, out, stride=1):
    k = draw(st.sampled_from([1, 3, 5]))
    groups = draw(st.sampled_from([g for g in (1, 1, 2, n) if n % g == 0 and out % g == 0]))
    return nn.Conv2d(n, out, k, stride, k // 2, groups=groups, bias=draw(st.booleans()))


def norm(draw, n):
    kinds = [nn.BatchNorm2d(n), nn.GroupNorm(2, n), nn.GroupNorm(1, n), nn.InstanceNorm2d(n, affine=True)]
    return draw(st.sampled_from([*kinds, nn.Identity()]))


def stack(draw, n, out, stride=1):
    hidden = draw(CHANNELS)
    activation = draw(st.sampled_from([nn.ReLU(), nn.Hardswish(), nn.PReLU(hidden), nn.ReLU6(inplace=True)]))
    return nn.Sequential(conv(draw, n, hidden, stride), norm(draw, hidden), activation, conv(draw, hidden, out))


BLOCKS = {
    "stack": lambda draw, n, out: (stack(draw, n, out, draw(st.sampled_from([1, 2]))), out),
    "residual": lambda draw, n, out: (Sum(nn.Identity(), stack(draw, n, n)), n),
    "projection": lambda draw, n, out: (Sum(conv(draw, n, out), stack(draw, n, out)), out),
    "concatenation": lambda draw, n, out: (Concatenation(conv(draw, n, out), stack(draw, n, out)), n + 2 * out),
    "gate": lambda draw, n, out: (Gate(conv(draw, n, out), conv(draw, n, out)), out),
    "chunk": lambda draw, n, out: (Split(stack(draw, n // 2, out), None), n - n // 2 + out),
    "split": lambda draw, n, out: (Split(conv(draw, n - n // 4, out), [n // 4, n - n // 4]), n // 4 + out),
    "shuffle": lambda draw, n, out: (nn.Sequential(conv(draw, n, out), Shuffle(2), conv(draw, out, out)), out),
    "torch's shuffle": lambda draw, n, out: (nn.Sequential(conv(draw, n, out), nn.ChannelShuffle(2)), out),
    "squeeze-and-excitation": lambda draw, n, out: (nn.Sequential(conv(draw, n, out), SqueezeExcite(out, 4)), out),
    "scale": lambda draw, n, out: (Scale(n), n),
    "transposed": lambda draw, n, out: (nn.ConvTranspose2d(n, out, 3, padding=1), out),
    "pool": lambda draw, n, out: (draw(st.sampled_from([nn.MaxPool2d(2, 1), nn.AvgPool2d(3, 1, 1)])), n),
    "repeated": lambda draw, n, out: (nn.Sequential(*(Sum(nn.Identity(), stack(draw, n, n)) for _ in range(2))), n),
    "tokens": lambda draw, n, out: (nn.Sequential(conv(draw, n, 8), Tokens(8, 2)), 8),
}


@st.composite
def networks(draw):
    torch.manual_seed(draw(st.integers(0, 99)))
    n = draw(CHANNELS)
    layers, names = (
        [nn.Conv2d(3, n, 3, padding=1)],
        draw(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=4)),
    )
    for name in names:
        layer, n = BLOCKS[name](draw, n, draw(CHANNELS))
        if n % 2:
            layer, n = nn.Sequential(layer, nn.Conv2d(n, 8, 1)), 8
        layers.append(layer)
    size = draw(st.sampled_from([1, 2]))
    head = [nn.AdaptiveAvgPool2d(size), nn.Flatten(), nn.Linear(n * size**2, 8), nn.ReLU(), nn.Linear(8, 5)]
    net = nn.Sequential(*layers, *head).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.eval()


RULES = [mn.rules.kernel_size(1, 3, 5), mn.rules.width(0.25, 0.5, 1.0, 1.5), mn.rules.depth()]


def holds(net, rules, n_points):
    with torch.no_grad():
        supernet = mn.rewrite(net, rules, example=X).eval()
        torch.testing.assert_close(supernet.activate(supernet.original_point)(X), net(X))
        points = supernet.space.samples(n_points, seed=0)
        costs = supernet.cost(points)
        for i, point in enumerate(points):
            small = mn.derive(supernet, point).eval()
            torch.testing.assert_close(supernet.activate(point)(X), small(X))
            with FlopCounterMode(display=False) as counter:
                small(X)
            assert costs["macs"][i] == counter.get_total_flops() // 2
            assert costs["params"][i] == sum(parameter.numel() for parameter in small.parameters())
            assert not any(type(module).__module__.startswith("modularnas") for module in small.modules())
        low, high = supernet.space.bounds("macs")
        assert low <= costs["macs"].min()
        assert costs["macs"].max() <= high
    return supernet


HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@given(networks())
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=HEALTH)
def test_whatever_a_network_ties_together_every_point_runs_as_planned(net):
    holds(net, RULES, 3)


@pytest.mark.slow
@given(networks())
@settings(max_examples=250, deadline=None, suppress_health_check=HEALTH)
def test_on_many_networks(net):
    holds(net, RULES, 6)
