"""Deriving copies what the point needs, and each network has graphs of its own."""

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import modularnas as mn


class Cloned(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if "clone" in str(func):
            self.bytes += out.nbytes
        return out


def blocks():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
    candidates = ["mbconv_k3_e6_se", "mbconv_k5_e6_se", "mbconv_k7_e6_se"]
    x = torch.randn(2, 3, 8, 8)
    return mn.rewrite(net, [mn.rules.replace(nn.Conv2d, candidates, where=["1", "2"])], example=x).eval(), x


def test_what_a_point_does_not_use_is_not_copied():
    supernet, _ = blocks()
    point = supernet.space.samples(1, seed=0)[0]
    net = mn.derive(supernet, point)
    own = sum(tensor.nbytes for tensor in net.state_dict().values())
    with Cloned() as cloned:
        mn.derive(supernet, point)
    assert cloned.bytes == own
    assert own < sum(tensor.nbytes for tensor in supernet.state_dict().values()) / 2


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


def test_views_are_the_supernets_own_memory():
    supernet, _ = blocks()
    point = supernet.space.samples(1, seed=0)[0]
    net = mn.derive(supernet, point, share=True)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert not any(parameter.any() for parameter in mn.derive(supernet, point).parameters())
