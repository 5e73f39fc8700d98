"""The user's own loop around it: mixed precision, accumulation, clipping, averaging, checkpointing, memory formats."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import modularnas as mn

X, Y = torch.randn(8, 3, 10, 10), torch.randint(0, 5, (8,))


class Net(nn.Module):
    """Two blocks; each may be computed again in the backward."""

    def __init__(self, again=False, reentrant=False):
        super().__init__()
        self.again, self.reentrant = again, reentrant
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(1, 8), nn.ReLU()) for _ in range(2)
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant) if self.again else block(x)
        return self.head(x.mean((2, 3)))


RULES = [
    mn.rules.kernel_size(3, 5),
    mn.rules.replace(nn.ReLU, ["original", nn.SiLU]),
    mn.rules.depth(min=1, where="blocks.*"),
]


def rewritten(again=False, mode="sliced", **settings):
    torch.manual_seed(2)
    supernet = mn.rewrite(Net(**settings), RULES, example=X, mode=mode).train()
    supernet.model.again = again
    return supernet


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def gradients(supernet):
    return [None if p.grad is None else p.grad.clone() for p in supernet.parameters()]


def same(a, b, **tolerance):
    for x, y in zip(a, b, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            torch.testing.assert_close(x, y, **tolerance)


@pytest.mark.parametrize("mode", ["sliced", "masked"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_what_is_computed_again_takes_the_same_path(mode, reentrant):
    """Also when several forwards, each on a path of its own, come before one backward."""
    found = []
    for again in (False, True):
        supernet = rewritten(again, mode, reentrant=reentrant).sampling("uniform", seed=5)
        points = []
        total = 0
        for _ in range(4):
            total = total + loss_fn(supernet, (X, Y))
            points.append(supernet.active_point)
        assert len(set(points)) > 1
        total.backward()
        assert supernet.active_point == points[-1]
        found.append(gradients(supernet))
    same(*found)


def test_a_whole_supernet_computed_again_draws_no_new_path():
    plain, again = rewritten().sampling("uniform", seed=1), rewritten().sampling("uniform", seed=1)
    for _ in range(3):
        loss_fn(plain, (X, Y)).backward()
        nn.functional.cross_entropy(checkpoint(again, X, use_reentrant=False), Y).backward()
        assert plain.active_point == again.active_point
    same(gradients(plain), gradients(again))


def test_mixed_precision_and_a_scaler():
    plain, mixed = rewritten(), rewritten()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD(mixed.parameters(), 0.1)

    def autocast(model, batch):
        with torch.autocast("cpu", torch.bfloat16):
            return loss_fn(model, batch)

    mn.train.FairNAS(seed=3).step(plain, loss_fn, (X, Y))
    mn.train.FairNAS(seed=3).step(mixed, autocast, (X, Y), backward=lambda loss: scaler.scale(loss).backward())
    assert max(g.abs().max() for g in gradients(mixed) if g is not None) > 10
    scaler.unscale_(optimizer)
    same(gradients(plain), gradients(mixed), rtol=0.1, atol=0.02)
    scaler.step(optimizer)


def test_accumulation_and_clipping():
    whole, parts = rewritten(), rewritten()
    mn.train.WeightsOnly().step(whole, loss_fn, (X, Y))
    for half in (slice(0, 4), slice(4, 8)):
        mn.train.WeightsOnly().step(parts, lambda m, b: loss_fn(m, b) / 2, (X[half], Y[half]))
    same(gradients(whole), gradients(parts))
    norm = torch.nn.utils.clip_grad_norm_(parts.parameters(), 0.01)
    assert norm > 0.01
    assert torch.nn.utils.get_total_norm([g for g in gradients(parts) if g is not None]) == pytest.approx(
        0.01, rel=1e-3
    )


def test_an_average_of_weights_is_a_supernet():
    supernet = rewritten()
    average = torch.optim.swa_utils.AveragedModel(
        supernet, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True
    )
    optimizer, strategy = torch.optim.SGD(supernet.parameters(), 0.1), mn.train.SinglePath()
    for _ in range(3):
        optimizer.zero_grad()
        strategy.step(supernet, loss_fn, (X, Y))
        optimizer.step()
        average.update_parameters(supernet)
    point = supernet.space.sample(seed=2)
    small = mn.derive(average.module, point).eval()
    torch.testing.assert_close(average.eval().module.activate(point)(X), small(X))
    assert not torch.allclose(small(X), mn.derive(supernet, point).eval()(X))


def test_channels_last():
    plain, last = rewritten(), rewritten().to(memory_format=torch.channels_last)
    x = X.to(memory_format=torch.channels_last)
    for supernet, batch in ((plain, (X, Y)), (last, (x, Y))):
        mn.train.FairNAS().step(supernet, loss_fn, batch)
    same(gradients(plain), gradients(last), rtol=1e-3, atol=1e-5)
    point = last.space.sample(seed=3)
    torch.testing.assert_close(last.eval().activate(point)(x), mn.derive(last, point).eval()(X), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch hides its own, unless it is an error
@pytest.mark.parametrize("mode", ["sliced", "masked"])
def test_a_compiled_supernet_trains(mode):
    torch.compiler.reset()
    plain, supernet = rewritten(mode=mode), rewritten(mode=mode)
    compiled = torch.compile(supernet, backend="aot_eager")
    for strategy in (mn.train.Sandwich(1), mn.train.SinglePath(seed=3)):
        copy.copy(strategy).step(plain, loss_fn, (X, Y))
        strategy.step(compiled, loss_fn, (X, Y))
    same(gradients(plain), gradients(supernet), rtol=1e-3, atol=1e-5)
    torch.compiler.reset()


def test_sampling_in_a_compiled_supernet():
    torch.compiler.reset()
    plain, supernet = (rewritten(mode="masked").sampling("uniform", seed=1) for _ in range(2))
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(supernet, backend=count)
    for _ in range(12):
        torch.testing.assert_close(compiled(X), plain(X), rtol=1e-4, atol=1e-5)
        assert supernet.active_point == plain.active_point
    assert len(graphs) == 1
    torch.compiler.reset()
