"""Morphisms keep the function of real networks, in eval mode within 1e-5, and leave the given network alone."""

import copy

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.nn import Skip

widen, deepen = mn.transform.widen, mn.transform.deepen
X = torch.randn(4, 3, 32, 32)


def warmed(net, x=X):
    """With running statistics as after training."""
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(x)
    return net.eval()


def vision(name, **settings):
    torch.manual_seed(0)
    return warmed(getattr(pytest.importorskip("torchvision.models"), name)(num_classes=10, **settings))


def equal(net, other, x=X):
    """Within 1e-5 of the size of the outputs."""
    with torch.no_grad():
        expected = net(x)
        torch.testing.assert_close(other(x), expected, rtol=0, atol=1e-5 * max(1.0, expected.abs().max().item()))


WIDER = {
    "resnet18": [("layer1.0.conv1", 96), ("layer1.0.conv2", 100), ("layer2.0.downsample.0", 130), ("conv1", 110)],
    "mobilenet_v2": [("features.2.conv.0.0", 120), ("features.3.conv.2", 30), ("features.18.0", 1300)],
    "densenet121": [("features.conv0", 80), ("features.denseblock1.denselayer2.conv2", 40)],
    "shufflenet_v2_x1_0": [("stage2.0.branch2.0", 80)],
    "resnext50_32x4d": [("layer1.0.conv1", 160)],
}


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenet_v2",
        pytest.param("densenet121", marks=pytest.mark.slow),
        "shufflenet_v2_x1_0",
        pytest.param("resnext50_32x4d", marks=pytest.mark.slow),
    ],
)
def test_widening_real_networks(name):
    net = vision(name)
    before = copy.deepcopy(net.state_dict())
    wide = net
    for path, size in WIDER[name]:
        wide = widen(wide, path, size, example=X, seed=1, noise=0.3)
        layer = wide.get_submodule(path)
        assert layer.out_channels == size == layer.weight.shape[0]
        equal(net, wide)
    assert sum(p.numel() for p in wide.parameters()) > sum(p.numel() for p in net.parameters())
    torch.testing.assert_close(dict(net.state_dict()), dict(before), rtol=0, atol=0)
    # It trains, and copies that share unequally become different.
    wide.train()(X).square().mean().backward()
    assert all(p.grad is not None for p in wide.parameters())


DEEPER = {
    "resnet18": ["layer1.0", "maxpool", "layer2.1.bn1", "avgpool"],
    "mobilenet_v2": ["features.3", "features.0", "features.2.conv.0.2"],
    "densenet121": ["features.relu0", "features.transition1", "features.denseblock2.denselayer1"],
}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", pytest.param("densenet121", marks=pytest.mark.slow)])
def test_deepening_real_networks(name):
    net = vision(name)
    deep, n_norms = net, sum(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    for i, path in enumerate(reversed(DEEPER[name]), 1):
        deep = deepen(deep, after=path, example=X)
        equal(net, deep)
        assert sum(isinstance(m, nn.BatchNorm2d) for m in deep.modules()) == n_norms + i


def test_a_new_layer_is_the_identity_in_train_mode_as_well():
    """Its statistics are those of the data that flows through."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    deep = deepen(net, after="1", example=X, norm=True).train()
    torch.testing.assert_close(deep(X), net(X), rtol=1e-3, atol=1e-3)


def test_an_activation_follows_only_where_it_changes_nothing():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(inplace=True), nn.Conv2d(4, 4, 3), nn.SiLU())
    net = warmed(net)
    for after, kinds in (
        ("2", ["Conv2d", "BatchNorm2d", "ReLU6"]),
        ("1", ["Conv2d", "BatchNorm2d"]),
        ("4", ["Conv2d", "BatchNorm2d"]),
    ):
        deep = deepen(net, after=after, example=X)
        assert [type(m).__name__ for m in deep[int(after) + 1]] == kinds
        equal(net, deep)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_number_of_dimensions(dims):
    conv, norm = (getattr(nn, f"{kind}{dims}d") for kind in ("Conv", "BatchNorm"))
    x = torch.randn(4, 3, *[9] * dims)
    net = warmed(nn.Sequential(conv(3, 4, 3), norm(4), nn.ReLU(), conv(4, 6, 3)), x)
    equal(net, deepen(net, after="2", example=x, kernel_size=5), x)
    equal(net, widen(net, "0", 9, example=x), x)


def test_linear_layers():
    x = torch.randn(5, 6)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    deep = deepen(net, after="1", example=x)
    assert [type(m) for m in deep[2]] == [nn.Linear, nn.ReLU]
    equal(net, deep, x)
    equal(net, widen(deep, "2.0", 11, example=x), x)


def test_names_of_a_sequential_with_names_stay():
    net = vision("densenet121")
    deep = deepen(net, after="features.relu0", example=X)
    assert "features.relu0_deeper.0.weight" in deep.state_dict()
    assert net.state_dict().keys() < deep.state_dict().keys()


def test_a_multiple_keeps_what_averages_over_channels():
    x = torch.randn(4, 5, 6)
    net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)).eval()
    equal(net, widen(net, "0", 16, example=x), x)
    with pytest.raises(mn.NetworkError, match="'0' cannot be 12 wide: the function would change"):
        widen(net, "0", 12, example=x)


def test_widths_in_groups():
    net = warmed(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.ReLU(), nn.Conv2d(12, 2, 1)))
    wide = widen(net, "1", 16, example=X)
    assert (wide[1].groups, wide[1].out_channels, wide[3].in_channels) == (4, 16, 16)
    equal(net, wide)
    equal(net, widen(net, "0", 12, example=X))
    with pytest.raises(mn.NetworkError, match="'1' is to be 14 wide; expected a multiple of 4 from 12 on"):
        widen(net, "1", 14, example=X)


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_a_whole_network_at_once(name, noise):
    net = vision(name)
    before = copy.deepcopy(net.state_dict())
    wide = widen(net, ratio=1.5, example=X, noise=noise)
    equal(net, wide)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    for (path, old), new in zip(net.named_modules(), wide.modules(), strict=True):
        if isinstance(old, nn.Conv2d):
            assert new.out_channels == 1.5 * old.out_channels == new.weight.shape[0], path
            assert not {id(old.weight)} & {id(new.weight)}
    assert wide.fc.out_features == net.fc.out_features


def test_layers_by_ratio_by_size_and_one_after_the_other_are_the_same_network():
    net = vision("resnet18").double()
    x = X.double()
    paths = ["layer1.0.conv1", "layer2.1.conv1", "layer4.0.conv1"]
    sizes = {path: 3 * net.get_submodule(path).out_channels for path in paths}
    at_once, by_ratio = widen(net, sizes, example=x), widen(net, paths, ratio=3, example=x, verify=False)
    one_by_one = net
    for path, size in sizes.items():
        one_by_one = widen(one_by_one, path, size, example=x)
    equal(net, at_once, x)
    torch.testing.assert_close(at_once.state_dict(), by_ratio.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(at_once.state_dict(), one_by_one.state_dict())


def test_what_reads_a_copy_has_its_exact_share():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    wide = widen(net, {"0": 6, "2": 7}, example=X, seed=2)
    for first, second in (("0", "2"), ("2", "4")):
        kernel, grown = net.get_submodule(first).bias, wide.get_submodule(first).bias
        of = (grown[:, None] == kernel).int().argmax(1)
        assert of[:4].tolist() == [0, 1, 2, 3]
        counts = torch.bincount(of, minlength=4)
        outputs = wide.get_submodule(second).weight[: len(net.get_submodule(second).weight)]
        expected = net.get_submodule(second).weight[:, of] * (1 / counts.double()).float()[of][:, None, None]
        torch.testing.assert_close(outputs, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_numbers_and_memory_layouts(dtype):
    net = vision("resnet18").to(memory_format=torch.channels_last)
    wide = widen(net.to(dtype), ratio=1.25, example=X.to(dtype), verify=False)
    expected = widen(
        net.to(dtype).to(memory_format=torch.contiguous_format), ratio=1.25, example=X.to(dtype), verify=False
    )
    for name, tensor in expected.state_dict().items():
        assert wide.state_dict()[name].dtype == tensor.dtype
        torch.testing.assert_close(wide.state_dict()[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    "settings", [{}, {"layers": "0"}, {"layers": {"0": 8}, "ratio": 2}, {"size": 8}, {"size": 8, "ratio": 2}]
)
def test_which_layers_must_be_clear(settings):
    with pytest.raises(mn.NetworkError, match="expected one path with a size, sizes by path, or a ratio"):
        widen(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), example=X, **settings)


def test_one_width_has_one_size():
    net = vision("resnet18")
    with pytest.raises(
        mn.NetworkError, match="'conv1' and 'layer1.0.conv2' make the same channels, but are to be 96 and 128"
    ):
        widen(net, {"conv1": 96, "layer1.0.conv2": 128}, example=X)
    assert widen(net, {"conv1": 96, "layer1.0.conv2": 96}, example=X).conv1.out_channels == 96
    with pytest.raises(mn.NetworkError, match="expected a multiple of 1 from 64 on"):
        widen(net, "conv1", ratio=0.5, example=X)


@pytest.mark.parametrize(
    ("path", "size", "message"),
    [
        ("fc", 20, "the width of 'fc' cannot vary: it is an output of the model"),
        ("layer9", 20, "the network has no module 'layer9'"),
        ("bn1", 80, "'bn1' makes 0 groups of channels; expected a layer that makes one, such as a convolution"),
        ("conv1", 32, "'conv1' is to be 32 wide; expected a multiple of 1 from 64 on"),
    ],
)
def test_what_cannot_be_widened_says_why(path, size, message):
    with pytest.raises(mn.NetworkError) as found:
        widen(vision("resnet18"), path, size, example=X)
    assert str(found.value) == message


def test_what_cannot_be_deepened_says_why():
    net = vision("resnet18")
    with pytest.raises(mn.NetworkError, match="no module 'layer9' that runs"):
        deepen(net, after="layer9", example=X)
    with pytest.raises(mn.NetworkError, match="a kernel of size 4 has no centre"):
        deepen(net, after="layer1", example=X, kernel_size=4)
    with pytest.raises(mn.NetworkError, match="a supernet is given"):
        deepen(mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=X), after="layer1", example=X)


def test_skips_go_in_and_out():
    net = warmed(
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1))
    )
    skipped = mn.transform.insert_skip(net, "0", example=X)
    equal(net, skipped)
    assert isinstance(skipped[0], Skip)
    equal(net, mn.transform.remove_skip(skipped, "0", example=X))
    # Trained a little, its kernel takes it up.
    with torch.no_grad():
        skipped[0].share.fill_(0.7)
    plain = mn.transform.remove_skip(skipped, "0", example=X)
    assert type(plain[0]) is nn.Conv2d
    equal(skipped, plain)
    block = mn.transform.insert_skip(nn.Sequential(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())), "0", example=X)
    with torch.no_grad():
        block[0].share.fill_(0.7)
    with pytest.raises(mn.NetworkError, match="the share 0.7 and passes a Sequential"):
        mn.transform.remove_skip(block, "0", example=X)
    with pytest.raises(mn.NetworkError, match="no skip fits around it"):
        mn.transform.insert_skip(vision("resnet18"), "conv1", example=X)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_sorting_keeps_the_function_and_makes_small_networks_better(name):
    net = vision(name)
    ordered = mn.transform.sort_channels(net, example=X)
    equal(net, ordered)
    assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), ordered.parameters(), strict=True))
    torch.testing.assert_close(
        sum(p.abs().sum() for p in net.parameters()), sum(p.abs().sum() for p in ordered.parameters())
    )


def test_a_sorted_supernet_has_its_best_channels_first():
    net = vision("resnet18")
    supernet = mn.rewrite(net, [mn.rules.width(0.5, 1.0), mn.rules.kernel_size(3, 5)], example=X).eval()
    parameters = list(supernet.parameters())
    assert supernet.sort_channels() is supernet
    equal(net, supernet.activate(supernet.original_point))
    assert all(a is b for a, b in zip(parameters, supernet.parameters(), strict=True))
    reads = supernet.model.layer1[0].conv2._parameters["weight"].detach().abs().sum((0, 2, 3))
    assert bool((reads[:-1] >= reads[1:] - 1e-4).all())
    for point in supernet.space.samples(3, seed=0):
        torch.testing.assert_close(
            supernet.activate(point)(X), mn.derive(supernet, point).eval()(X), rtol=1e-4, atol=1e-4
        )


def test_inheritance_by_the_best_match():
    parent = nn.Sequential(nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3))
    child = nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 6, 3))
    own = copy.deepcopy(child)
    found = {match.to: match for match in mn.transform.inherit(child, parent)}
    assert torch.equal(child[0].weight[:8], parent[0].weight[:, :, 1:4, 1:4])
    assert torch.equal(child[0].weight[8:], own[0].weight[8:])
    assert found["0.weight"][1:] == ("0.weight", pytest.approx(8 / 12))
    # Layer 3 has no namesake; layer 2 is the most alike.
    assert found["3.weight"].source == "2.weight"
    assert torch.equal(child[3].weight[:, :8], parent[2].weight)


def test_the_average_of_checkpoints():
    nets = [warmed(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), torch.randn(8, 3)) for _ in range(3)]
    average = mn.transform.average([net.state_dict() for net in nets])
    expected = torch.stack([net[0].weight.detach() for net in nets]).mean(0)
    torch.testing.assert_close(average["0.weight"], expected)
    assert average["1.num_batches_tracked"] == 3
    nets[0].load_state_dict(average)
    with pytest.raises(mn.NetworkError, match="no checkpoint"):
        mn.transform.average([])
    with pytest.raises(mn.TensorError, match="has the shape"):
        mn.transform.average([{"w": torch.zeros(2)}, {"w": torch.zeros(3)}])


def test_new_weights_in_a_part():
    net = vision("resnet18")
    before, drawn = copy.deepcopy(net.state_dict()), torch.random.get_rng_state()
    paths = mn.transform.reinitialise(net, "layer4.*", seed=3)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(path.startswith("layer4.") for path in paths)
    for name, value in net.state_dict().items():
        if name.startswith("layer4.") and "conv" in name:
            assert not torch.equal(value, before[name])
        elif not name.startswith("layer4."):
            assert torch.equal(value, before[name])
    again = copy.deepcopy(net)
    mn.transform.reinitialise(again, "layer4.*", seed=3)
    assert torch.equal(again.layer4[0].conv1.weight, net.layer4[0].conv1.weight)
    with pytest.raises(mn.NetworkError, match="matches no module"):
        mn.transform.reinitialise(net, "head.*")


def test_networks_that_grow():
    net = warmed(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )
    )
    morphisms = mn.transform.Morphisms(net, example=X, steps=4, sites=4)
    for point in morphisms.space.samples(6, seed=0):
        grown = morphisms.build(point)
        equal(net, grown)
        again = morphisms.build(dict(point))
        assert again.state_dict().keys() == grown.state_dict().keys()
        assert all(a.shape == b.shape for a, b in zip(grown.parameters(), again.parameters(), strict=True))
    stuck = mn.transform.Morphisms(nn.Linear(3, 2), example=torch.randn(2, 3), kinds=["widen_2", "skip"])
    assert stuck.build({"morphism_0": "skip@0", "morphism_1": "widen_2@7", "morphism_2": "stop"}).weight.shape == (2, 3)
    # A child goes on from its parent's weights.
    parent = {"morphism_0": "widen_2@0", "morphism_1": "stop"}
    trained = morphisms.build(parent)
    with torch.no_grad():
        trained[8].bias.add_(1)
    child = morphisms.build(
        {"morphism_0": "widen_2@0", "morphism_1": "skip@0", "morphism_2": "stop"}, (parent, trained)
    )
    equal(trained, child)
    other = morphisms.build({"morphism_0": "deepen_3@0", "morphism_1": "stop"}, (parent, trained))
    equal(net, other)
