"""Common beginnings of candidates: the same metrics as one by one, computed fewer times."""

import copy
import pickle
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import modularnas as mn

G = torch.Generator().manual_seed(0)
BATCHES = [torch.randn(4, 3, 8, 8, generator=G) for _ in range(2)]
CALLS = Counter()


class Block(nn.Module):
    def __init__(self, name, channels=6):
        super().__init__()
        self.name = name
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        CALLS[self.name] += 1
        return x + F.relu(self.norm(self.conv(x)))


class Net(nn.Module):
    """A chain inside, and functions, a write in place and a reshape around it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(*[Block(f"block{i}") for i in range(5)])
        self.last = Block("last")
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        x = self.blocks(F.avg_pool2d(self.stem(x), 2))
        x += 1
        return self.head(self.last(x).mean((2, 3)))


@pytest.fixture
def supernet():
    torch.manual_seed(0)
    rules = [mn.rules.kernel_size(3, 5), mn.rules.replace(nn.BatchNorm2d, ["original", "identity"], where="last.*")]
    made = mn.rewrite(Net(), rules, example=BATCHES[0])
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    made.train().sampling("uniform", seed=0)
    with torch.no_grad():
        for batch in BATCHES:
            made(batch)
    return made


def neighbours(supernet):
    point = supernet.space.sample(seed=0)
    return mn.evaluate.candidates([*supernet.space.neighbours(point), point])


def scored(supernet, score, prefix_bytes, policy="recalibrate", **settings):
    evaluator = mn.evaluate.SharedWeights(
        supernet, score, batch_norm=policy, calibration=BATCHES, prefix_bytes=prefix_bytes, **settings
    )
    CALLS.clear()
    return evaluator.evaluate(neighbours(supernet)), Counter(CALLS)


def mean(net):
    return sum(net(batch).sum().item() for batch in BATCHES)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("policy", ["recalibrate", "batch", "none"])
def test_the_metrics_are_the_same_and_the_front_is_computed_less(supernet, policy, mode):
    score = mode()(mean)
    alone, calls_alone = scored(supernet, score, 0, policy)
    together, calls = scored(supernet, score, 2**30, policy)
    assert together == alone
    assert len({values["accuracy"] for values in alone}) == len(alone)
    assert calls["block0"] < calls_alone["block0"] / 2
    assert calls["block0"] < calls["block4"] <= calls["last"] == calls_alone["last"]


def test_private_statistics(supernet):
    supernet.private_batch_norm()
    supernet.train()
    with torch.no_grad():
        for batch in BATCHES * 8:
            supernet(batch)
    alone, _ = scored(supernet, torch.no_grad()(mean), 0, "private")
    assert scored(supernet, torch.no_grad()(mean), 2**30, "private")[0] == alone


@pytest.mark.parametrize("prefix_bytes", [1, 4000, 20_000])
def test_what_has_no_room_is_computed(supernet, prefix_bytes):
    alone, calls_alone = scored(supernet, torch.no_grad()(mean), 0)
    together, calls = scored(supernet, torch.no_grad()(mean), prefix_bytes)
    assert together == alone
    assert calls <= calls_alone
    assert prefix_bytes > 1 or calls == calls_alone


@pytest.mark.parametrize("n_together", [1, 3])
def test_groups(supernet, n_together):
    alone, _ = scored(supernet, torch.no_grad()(mean), 0)
    assert scored(supernet, torch.no_grad()(mean), 2**30, n_together=n_together)[0] == alone


def gradient(net):
    mean_square = sum(net(batch).square().mean() for batch in BATCHES)
    mean_square.backward()
    return net.stem[0].weight.grad.norm()


def watched(net):
    seen = []
    handles = [
        net.get_submodule(f"blocks.{i}.conv").register_forward_hook(lambda *call: seen.append(1)) for i in (0, 4)
    ]
    with torch.no_grad():
        value = mean(net)
    for handle in handles:
        handle.remove()
    return {"accuracy": value, "seen": len(seen)}


def copied(net):
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
        return mean(twin) + mean(pickle.loads(pickle.dumps(twin)))


def recalibrated(net):
    mn.evaluate.recalibrate(net, [batch + 1 for batch in BATCHES])
    with torch.no_grad():
        return mean(net)


def buffer_reused(net):
    buffer = torch.empty_like(BATCHES[0])
    values = buffer.numpy()  # written to behind torch's back
    total = 0.0
    with torch.no_grad():
        for batch in BATCHES:
            values[:] = batch.numpy()
            total += net(buffer).sum().item()
    return total


def batches_differ(net):
    with torch.no_grad():
        return mean(net) + net(torch.full((2, 3, 8, 8), net.stem[0].weight.shape[-1] / 10)).sum().item()


def autocast(net):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = mean(net)
    with torch.no_grad():
        return half + 10 * mean(net)


@pytest.mark.parametrize(
    "score", [mean, gradient, watched, copied, recalibrated, buffer_reused, batches_differ, autocast]
)
def test_whatever_a_score_does(supernet, score):
    alone, _ = scored(supernet, score, 0, "none")
    assert scored(supernet, score, 2**30, "none")[0] == alone


def test_the_network_is_plain_again(supernet):
    nets = []
    scored(supernet, lambda net: nets.append(net) or 1.0, 2**30)
    assert all("forward" not in vars(module) for net in nets for module in net.modules())
    assert all(net.stem[2].inplace for net in nets)
