"""Batch norms of sub-networks: statistics measured anew are those computed by hand."""

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.evaluate.batch_norm import use_batch_statistics

BATCHES = [torch.randn(6, 3, 8, 8) * scale + scale for scale in (1.0, 2.0, 3.0)]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))


def by_hand(net, batches):
    """Mean and variance of the first batch norm's input, averaged over batches."""
    outs = [net[0](x) for x in batches]
    mean = torch.stack([out.mean((0, 2, 3)) for out in outs]).mean(0)
    variance = torch.stack([out.var((0, 2, 3)) for out in outs]).mean(0)
    return mean, variance


def check(net, batches):
    mean, variance = by_hand(net, batches)
    torch.testing.assert_close(net[1].running_mean, mean)
    torch.testing.assert_close(net[1].running_var, variance)


def test_statistics_are_the_plain_average_over_batches():
    model = net()
    model[1].running_mean.fill_(7)
    assert mn.evaluate.recalibrate(model, BATCHES) == 3
    check(model, BATCHES)


def test_targets_are_ignored_and_the_number_is_limited():
    model = net()
    assert mn.evaluate.recalibrate(model, [(x, torch.zeros(6)) for x in BATCHES], n_batches=2) == 2
    check(model, BATCHES[:2])


def test_dictionaries_are_keywords():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, *, image):
            return self.norm(image)

    model = Named()
    assert mn.evaluate.recalibrate(model, [{"image": x} for x in BATCHES]) == 3
    torch.testing.assert_close(model.norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in BATCHES]).mean(0))


def test_nothing_else_changes():
    model = net().train()
    model[3].eval()
    model[1].momentum = 0.3
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    mn.evaluate.recalibrate(model, BATCHES)
    assert [module.training for module in model.modules()] == modes
    assert model[1].momentum == 0.3
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dropout_stays_off_meanwhile():
    first, second = net(), net()
    mn.evaluate.recalibrate(first, BATCHES)
    torch.manual_seed(5)
    mn.evaluate.recalibrate(second, BATCHES)
    assert torch.equal(first[4].running_mean, second[4].running_mean)


def test_a_failing_network_is_restored():
    model = net().train()
    with pytest.raises(RuntimeError):
        mn.evaluate.recalibrate(model, [torch.randn(2, 5, 8, 8)])
    assert all(module.training for module in model.modules())
    assert model[1].momentum == 0.1


def test_no_batches():
    with pytest.raises(mn.EvaluationError) as found:
        mn.evaluate.recalibrate(net(), [])
    assert str(found.value) == (
        "calibration gives no batch; batch norms cannot be recalibrated, give a non-empty loader"
    )


def test_batch_statistics_in_eval_mode():
    model = net().eval()
    x = BATCHES[2]
    expected = nn.functional.batch_norm(model[0](x), None, None, model[1].weight, model[1].bias, training=True)
    use_batch_statistics(model)
    torch.testing.assert_close(model[1](model[0](x)), expected)
