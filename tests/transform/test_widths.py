"""Widths, expansions and depths: what is coupled, what is fixed, and that every point runs as planned."""

import copy
import json
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import modularnas as mn


class Residual(nn.Module):
    def __init__(self, n, hidden, groups=1):
        super().__init__()
        self.first = nn.Conv2d(n, hidden, 3, padding=1, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.second = nn.Conv2d(hidden, n, 1)

    def forward(self, x):
        return x + self.second(torch.relu(self.norm(self.first(x))))


class SqueezeExcite(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.down, self.up = nn.Conv2d(n, 4, 1), nn.Conv2d(4, n, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(9, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(13), nn.Linear(13, 5)

    def forward(self, x):
        x = torch.cat([x, self.a(x)], 1)
        x = torch.cat([x, self.b(x)], 1)
        return self.head(self.norm(x).mean((2, 3)))


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.out = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        return self.out(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


class Scaled(nn.Module):
    """A parameter of the user's own, and a split."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(12, 1, 1))
        self.conv, self.out = nn.Conv2d(3, 12, 1), nn.Conv2d(6, 4, 1)

    def forward(self, x):
        a, b = (self.conv(x) * self.scale).chunk(2, 1)
        return self.out(a * torch.sigmoid(b))


class FeedForwardOf(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(n), nn.Linear(n, 4 * n), nn.Linear(4 * n, n)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


def flat():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6), nn.Flatten(), nn.Linear(6 * 36, 5))


def blocks():
    return nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Sequential(Residual(8, 12), Residual(8, 12), Residual(8, 8, groups=8)),
        SqueezeExcite(8),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.ConvTranspose2d(8, 6, 2),
        nn.PReLU(6),
        nn.Conv2d(6, 4, 1),
    )


IMAGE = torch.randn(2, 3, 8, 8)
MODELS = {
    "blocks": (blocks, IMAGE),
    "dense": (Dense, IMAGE),
    "shuffle": (Shuffle, IMAGE),
    "scaled": (Scaled, IMAGE),
    "flat": (flat, IMAGE),
    "depthwise": (lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(16, 2, 1)), IMAGE),
    "feed_forward": (lambda: nn.Sequential(FeedForwardOf(6), FeedForwardOf(6)), torch.randn(2, 5, 6)),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(11, 8), nn.LayerNorm(8), nn.Linear(8, 3)),
        torch.randint(0, 11, (2, 7)),
    ),
    "volume": (
        lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Conv3d(4, 2, 1)),
        torch.randn(1, 1, 4, 4, 4),
    ),
}
RULES = [mn.rules.width(0.25, 0.5, 1.0), mn.rules.depth(), mn.rules.kernel_size(3, 5)]


def rewritten(name, rules=RULES):
    torch.manual_seed(0)
    build, x = MODELS[name]
    net = build().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net, mn.rewrite(net, rules, example=x).eval(), x


@pytest.mark.parametrize("name", MODELS)
def test_every_point_runs_costs_and_equals_as_planned(name):
    net, supernet, x = rewritten(name)
    with torch.no_grad():
        assert torch.equal(supernet.activate(supernet.original_point)(x), net(x))
        for point in supernet.space.samples(12, seed=3):
            small = mn.derive(supernet, point).eval()
            torch.testing.assert_close(supernet.activate(point)(x), small(x))
            with FlopCounterMode(display=False) as counter:
                small(x)
            cost = supernet.cost(point)
            assert cost["macs"] == counter.get_total_flops() // 2
            assert cost["params"] == sum(parameter.numel() for parameter in small.parameters())
            assert not any(type(module).__module__.startswith("modularnas") for module in small.modules())


@pytest.mark.parametrize("name", MODELS)
def test_networks_that_share_weights_are_equal_too(name):
    _, supernet, x = rewritten(name)
    with torch.no_grad():
        for point in supernet.space.samples(4, seed=5):
            small = mn.derive(supernet, point, share=True).eval()
            torch.testing.assert_close(supernet.activate(point)(x), small(x))
            buffers = {buffer.untyped_storage().data_ptr() for buffer in supernet.buffers()}
            assert not any(buffer.untyped_storage().data_ptr() in buffers for buffer in small.buffers())


@pytest.mark.parametrize("name", ["blocks", "dense"])
def test_training_a_point_moves_the_shared_weights_and_statistics(name):
    _, supernet, x = rewritten(name)
    point = supernet.space.samples(3, seed=8)[2]
    supernet.train().activate(point)
    alone = mn.derive(supernet, point).train()
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    supernet(x).sum().backward()
    alone(x).sum().backward()
    after = mn.derive(supernet.eval(), point)
    for (key, mine), theirs in zip(after.state_dict().items(), alone.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=key)
    changed = [key for key, value in supernet.state_dict().items() if not torch.equal(value, before[key])]
    assert any("running_mean" in key for key in changed)


def test_supernets_of_elastic_modules_can_be_copied_and_pickled():
    _, supernet, x = rewritten("blocks")
    point = supernet.space.sample(seed=4)
    expected = supernet.activate(point)(x)
    for twin in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):
        assert torch.equal(twin(x), expected)
        other = supernet.space.sample(seed=9)
        assert torch.equal(twin.activate(other)(x), mn.derive(supernet, other).eval()(x))


def test_coupled_layers_are_one_decision():
    _, supernet, _ = rewritten("blocks", [mn.rules.width(0.5, 1.0)])
    decision = supernet.space["0.width"]
    assert decision.choices == (4, 8)
    coupled = {row[0] for row in supernet.report().rows if row[2] == "coupled" and "0.width" in row[3]}
    assert {"1.0.second", "1.1.second", "2.up", "2.down"} <= coupled
    small = mn.derive(supernet, {**dict(supernet.original_point), "0.width": 4})
    assert small[3].groups == 4
    assert small[3].in_channels == 4
    assert small[1][2].first.groups == small[1][2].first.in_channels == 4


def test_concatenated_channels_keep_their_places():
    net, supernet, _ = rewritten("dense", [mn.rules.width(0.5, 1.0)])
    small = mn.derive(supernet, {"a.width": 3, "b.width": 2})
    kept = [0, 1, 2, 3, 4, 5, 9, 10]
    assert torch.equal(small.norm.running_mean, net.norm.running_mean[kept])
    assert torch.equal(small.head.weight, net.head.weight[:, kept])


def test_where_must_name_all_coupled_layers():
    supernet = mn.rewrite(blocks(), [mn.rules.width(0.5, 1.0, where=["1.*", "2.*"])], example=IMAGE)
    assert "0.width" not in {decision.name for decision in supernet.space.decisions}
    reasons = {row[0]: row[3] for row in supernet.report().rows if row[2] == "fixed"}
    assert reasons["1.0.second"] == "width: it is coupled with '0', which where= leaves out"


class Written(nn.Module):
    """Has a size written into its forward."""

    def __init__(self):
        super().__init__()
        self.conv, self.free, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Linear(6, 2)

    def forward(self, x):
        x = self.conv(x).reshape(len(x), 8, -1, 8)
        return self.head(self.free(x).mean((2, 3)))


def test_a_size_in_the_forward_is_found_and_fixed():
    supernet = mn.rewrite(Written(), [mn.rules.width(0.5, 1.0)], example=IMAGE)
    assert [decision.name for decision in supernet.space.decisions] == ["free.width"]
    reason = next(row[3] for row in supernet.report().rows if row[0] == "conv" and row[2] == "fixed")
    assert "at another size" in reason


class Attention(nn.Module):
    """Heads of a fixed size, as many as there are."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.out = nn.Linear(16, 16)

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (-1, 4)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return x + self.out(((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_what_only_varies_together_is_found_and_fixed():
    net = nn.Sequential(*(nn.Sequential(Attention(), FeedForwardOf(16)) for _ in range(3)))
    x = torch.randn(2, 5, 16)
    supernet = mn.rewrite(net, [mn.rules.width(0.5, 1.0)], example=x).eval()
    assert [d.name for d in supernet.space.decisions] == [f"{i}.1.up.width" for i in range(3)]
    assert any("at another size" in row[3] for row in supernet.report().rows if row[0] == "0.0.query")
    for point in supernet.space.samples(4, seed=1):
        assert torch.equal(supernet.activate(point)(x), mn.derive(supernet, point).eval()(x))


def test_depth_leaves_blocks_out_of_lists():
    _, supernet, x = rewritten("blocks", [mn.rules.depth(), mn.rules.width(0.5, 1.0, where="1.*.first")])
    assert supernet.space["1.depth"].choices == (1, 2, 3)
    assert supernet.space["1.1.first.width"].active_if == ("1.depth", (2, 3))
    point = {"1.depth": 1, "1.0.first.width": 6}
    small = mn.derive(supernet, point)
    assert len(small[1]) == 1
    assert torch.equal(small.eval()(x), supernet.activate(point)(x))


def activation_bytes(net, x):
    made = []
    for module in net.modules():
        if not list(module.children()) and not isinstance(module, nn.Identity):
            module.register_forward_hook(lambda module, args, output: made.append(output.nbytes))
    net(x)
    return sum(made)


def test_depth_leaves_identities_where_a_list_is_none():
    class Named(nn.ModuleDict):
        def forward(self, x):
            for block in self.values():
                x = block(x)
            return x

    net = Named({"stem": nn.Conv2d(3, 8, 1), "a": Residual(8, 12), "b": Residual(8, 12)}).eval()
    supernet = mn.rewrite(net, [mn.rules.depth()], example=IMAGE)
    assert supernet.space.size == 2  # the first block of a stage stays
    for point in map(supernet.space.unrank, range(2)):
        small = mn.derive(supernet, point).eval()
        with torch.no_grad():
            torch.testing.assert_close(supernet.activate(point)(IMAGE), small(IMAGE))
        assert supernet.cost(point)["activation_bytes"] == activation_bytes(small, IMAGE)


def test_expansion_is_a_multiple_of_what_the_block_is_given():
    net = nn.Sequential(FeedForwardOf(6), FeedForwardOf(6))
    supernet = mn.rewrite(net, [mn.rules.expansion(2, 4)], example=torch.randn(2, 5, 6))
    assert [d.name for d in supernet.space.decisions] == ["0.up.expansion", "1.up.expansion"]
    assert supernet.space["0.up.expansion"].choices == (12, 24)


def test_an_identity_among_the_candidates_couples_the_widths_around_it():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1))
    rules = [mn.rules.replace(nn.Conv2d, ["original", "identity"], where="1"), mn.rules.width(0.5, 1.0)]
    supernet = mn.rewrite(net, [*rules, mn.rules.kernel_size(3, 5)], example=IMAGE)
    coupled = {row[0]: row[3] for row in supernet.report().rows if row[2] == "coupled"}
    assert "0.width" in coupled["1"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: mn.rules.width(), "width is given (); expected one or more different numbers, such as 0.5, 0.75, 1.0"),
        (
            lambda: mn.rules.width(0.5, 32),
            "width is given (0.5, 32), floats and ints; expected only shares (0.5, 1.0) or only channels (32, 64)",
        ),
        (
            lambda: mn.rules.width(0.5, 9.0),
            "width is given the shares (0.5, 9.0); expected more than 0 and at most 8.0",
        ),
        (lambda: mn.rules.width(0.5, divisor=0), "width is given divisor=0; expected an integer of 1 or more"),
        (lambda: mn.rules.depth(0), "depth is given min=0; expected an integer of 1 or more"),
        (
            lambda: mn.rules.expansion(-1),
            "expansion is given (-1,); expected one or more different positive numbers, such as 3, 6",
        ),
    ],
)
def test_wrong_arguments_are_explained(make, text):
    with pytest.raises(mn.RuleError) as error:
        make()
    assert str(error.value) == text


def test_derived_networks_export(tmp_path):
    _, supernet, x = rewritten("blocks")
    small = mn.derive(supernet, supernet.space.sample(seed=2)).eval()
    mn.export(small, tmp_path / "out", example=x)
    assert torch.equal(mn.load_export(tmp_path / "out")(x), small(x))
    assert json.loads((tmp_path / "out" / "architecture.json").read_text())["point"]
