"""Deriving copies what the point needs, and each network has graphs of its own."""

import copy
import io
import pickle

import pytest
import torch
from torch import fx, nn

import modularnas as mn
from modularnas import _core


def blocks():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
    candidates = ["mbconv_k3_e6_se", "mbconv_k5_e6_se", "mbconv_k7_e6_se"]
    x = torch.randn(2, 3, 8, 8)
    return mn.rewrite(net, [mn.rules.replace(nn.Conv2d, candidates, where=["1", "2"])], example=x).eval(), x


def test_what_a_point_does_not_use_is_not_copied(monkeypatch):
    supernet, _ = blocks()
    point = supernet.space.samples(1, seed=0)[0]
    net = mn.derive(supernet, point)
    own = sum(tensor.nbytes for tensor in net.state_dict().values())
    copied, copy_tensors = [], _core.copy_tensors

    def watched(*arguments):
        made = copy_tensors(*arguments)
        copied.extend(tensor.nbytes for tensor in made.values())
        return made

    monkeypatch.setattr(_core, "copy_tensors", watched)
    mn.derive(supernet, point)
    assert sum(copied) == own
    assert own < sum(tensor.nbytes for tensor in supernet.state_dict().values()) / 2


@pytest.mark.parametrize("what", ["uint16", "float8", "sparse", "meta"])
@pytest.mark.parametrize("share", [False, True])
def test_tensors_of_every_kind_are_copied(what, share):
    """The native half knows neither all kinds of numbers nor tensors without memory."""
    kinds = {
        "uint16": torch.arange(4).to(torch.uint16),
        "float8": torch.ones(4).to(torch.float8_e4m3fn),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.ones(4),
    }
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    net.register_buffer("kept", kinds[what])
    supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=torch.randn(1, 3, 8, 8))
    if what == "meta":
        supernet = supernet.to("meta")
    made = mn.derive(supernet, {"0.kernel_size": 3}, share=share)
    assert made.kept is not supernet.model.kept
    assert (made.kept.dtype, made.kept.layout, made.kept.device) == (
        kinds[what].dtype,
        kinds[what].layout,
        supernet.model.kept.device,
    )
    if what != "meta":
        assert torch.equal(made.kept.to_dense().float(), kinds[what].to_dense().float())


def test_a_graph_that_is_known_is_that_of_a_module_alike():
    supernet, x = blocks()
    for seed in (0, 0, 1, 2, 1):
        point = supernet.space.samples(1, seed=seed)[0]
        torch.testing.assert_close(mn.derive(supernet, point)(x), supernet.activate(point)(x))


def test_a_change_of_a_derived_graph_changes_no_other_network():
    supernet, x = blocks()
    point = supernet.space.samples(1, seed=0)[0]
    first = mn.derive(supernet, point)
    expected = first(x)
    for module in first.modules():
        if isinstance(module, torch.fx.GraphModule):
            output = next(node for node in module.graph.nodes if node.op == "output")
            with module.graph.inserting_before(output):
                doubled = module.graph.call_function(torch.add, (output.args[0], output.args[0]))
            output.args = (doubled,)
            module.recompile()
    assert not torch.allclose(first(x), expected)
    torch.testing.assert_close(mn.derive(supernet, point)(x), expected)


def graph_modules(net):
    return [module for module in net.modules() if isinstance(module, fx.GraphModule)]


def saved(net):
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "torch.save": saved,
    "symbolic_trace": fx.symbolic_trace,
}


@pytest.mark.parametrize("name", COPIES)
def test_what_needs_a_graph_makes_it(name):
    supernet, x = blocks()
    point = supernet.space.samples(1, seed=0)[0]
    mn.derive(supernet, point)
    net = mn.derive(supernet, point)
    assert graph_modules(net)
    made = COPIES[name](net)
    torch.testing.assert_close(made(x), net(x), rtol=0, atol=0)
    assert made.state_dict().keys() == net.state_dict().keys()
    for module in graph_modules(net):
        assert "def forward" in module.code
        assert module.graph.owning_module is module
        module.graph.lint()
        module.recompile()


def test_a_graph_module_is_one_of_torchs_by_name():
    supernet, x = blocks()
    point = supernet.space.samples(1, seed=0)[0]
    for net in (mn.derive(supernet, point), mn.derive(supernet, point)):
        for module in graph_modules(net):
            before = type(module).__name__, type(module).__module__, module.code, str(module)
            assert module.graph is module.graph
            assert (type(module).__name__, type(module).__module__, module.code, str(module)) == before
            assert before[0] in ("InvertedResidual", "Residual", "SqueezeExcite")
            assert "modularnas" not in before[1]
        torch.testing.assert_close(net(x), supernet.activate(point)(x))


def test_two_networks_share_no_container():
    supernet, _ = blocks()
    point = supernet.space.samples(1, seed=0)[0]
    first, second = mn.derive(supernet, point), mn.derive(supernet, point)
    for a, b in zip(first.modules(), second.modules(), strict=True):
        for name, value in vars(a).items():
            if isinstance(value, (dict, list, set)) and name != "_lineno_map":
                assert vars(b)[name] is not value, (type(a), name)
    first[1].register_forward_hook(lambda module, args, out: out + 1)
    first.eval()
    second.train()
    assert not second[1]._forward_hooks
    assert not first[1].training
    assert second[1].training


def test_the_mode_and_what_is_trained_are_the_supernets():
    supernet, _ = blocks()
    point = supernet.space.samples(1, seed=0)[0]
    for training in (True, False):
        supernet.train(training).requires_grad_(training)
        net = mn.derive(supernet, point)
        assert {module.training for module in net.modules()} == {training}
        assert {parameter.requires_grad for parameter in net.parameters()} == {training}


def test_views_are_the_supernets_own_memory():
    supernet, _ = blocks()
    point = supernet.space.samples(1, seed=0)[0]
    net = mn.derive(supernet, point, share=True)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert not any(parameter.any() for parameter in mn.derive(supernet, point).parameters())
