"""Weights between supernet and derived networks: shared where asked, independent otherwise, nothing held twice."""

import pytest
import torch
from torch import nn

import modularnas as mn

X = torch.randn(2, 3, 8, 8)


def rewritten():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 5, padding=2))
    rules = [mn.rules.kernel_size(3, 5, 7), mn.rules.replace(nn.ReLU, ["original", nn.PReLU])]
    return mn.rewrite(net, rules, example=X).eval()


def shared(supernet, layer=0):
    """The weight that all kernel sizes of a layer share."""
    return dict(supernet.named_parameters())[f"model.{layer}.weight"]


def storages(net):
    return {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}


def test_shared_networks_are_views():
    supernet = rewritten()
    for point in supernet.space.samples(6, seed=0):
        small = mn.derive(supernet, point, share=True)
        assert storages(small) <= storages(supernet)
        with torch.no_grad():
            for parameter in small.parameters():
                parameter.add_(0.5)
        torch.testing.assert_close(supernet.activate(point)(X), small.eval()(X))


def test_a_smaller_kernel_is_the_centre_of_the_shared_one():
    supernet = rewritten()
    point = {**dict(supernet.original_point), "0.kernel_size": 3, "3.kernel_size": 5}
    small = mn.derive(supernet, point, share=True)
    assert torch.equal(small[0].weight, shared(supernet)[:, :, 2:5, 2:5])
    assert torch.equal(small[3].weight, shared(supernet, 3)[:, :, 1:6, 1:6])


def test_buffers_are_never_shared():
    supernet = rewritten()
    small = mn.derive(supernet, supernet.original_point, share=True).train()
    small(X)
    assert torch.equal(supernet.model[1].running_mean, torch.zeros(4))
    assert small[1].num_batches_tracked == 1


def test_copies_are_independent_and_contiguous():
    supernet = rewritten()
    small = mn.derive(supernet, {**dict(supernet.original_point), "0.kernel_size": 5})
    assert not storages(small) & storages(supernet)
    assert all(parameter.is_contiguous() for parameter in small.parameters())
    before = [parameter.detach().clone() for parameter in supernet.parameters()]
    loss = small.train()(X).square().mean()
    loss.backward()
    torch.optim.SGD(small.parameters(), 0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(before, supernet.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_deriving_leaves_the_supernet_alone():
    supernet = rewritten().train()
    point = supernet.active_point
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    mn.derive(supernet, supernet.space.sample(seed=8))
    assert supernet.active_point == point
    assert supernet.training
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_a_supernet_of_kernels_is_no_larger_than_its_largest_network():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 5, padding=2))
    supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7)], example=X)
    largest = {"0.kernel_size": 7, "1.kernel_size": 7}
    assert sum(parameter.numel() for parameter in supernet.parameters()) == supernet.cost(largest)["params"]
    assert (
        max(supernet.cost([supernet.space.unrank(i) for i in range(9)])["params"]) == supernet.cost(largest)["params"]
    )


def test_a_derived_network_knows_its_point():
    supernet = rewritten()
    point = supernet.space.sample(seed=1)
    known = mn.derive(supernet, point)._architecture
    assert known == {"point": dict(point), "space": supernet.space.fingerprint, "cost": supernet.cost(point)}


def test_gradients_reach_only_the_active_centre():
    supernet = rewritten()
    supernet.activate({**dict(supernet.original_point), "0.kernel_size": 3})
    supernet(X).square().sum().backward()
    gradient = shared(supernet).grad
    assert gradient[:, :, 2:5, 2:5].abs().min() > 0
    assert gradient.abs().sum() == pytest.approx(gradient[:, :, 2:5, 2:5].abs().sum())
