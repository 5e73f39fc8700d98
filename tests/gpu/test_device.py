"""What must hold on any device: the law of weight sharing, a training step, export. Needs torch and the wheel alone."""

import copy
import time

import torch
from torch import nn

import modularnas as mn


def net():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def supernet_on(device):
    torch.manual_seed(0)
    x = torch.randn(8, 3, 16, 16, device=device)
    rules = [mn.rules.kernel_size(3, 5, 7), mn.rules.replace(nn.ReLU, ["original", nn.SiLU])]
    return mn.rewrite(net().to(device), rules, example=x), x


def test_the_law_holds(device):
    supernet, x = supernet_on(device)
    supernet.eval()
    for point in supernet.space.samples(8, seed=1):
        small = mn.derive(supernet, point).eval()
        assert next(small.parameters()).device.type == torch.device(device).type
        torch.testing.assert_close(supernet.activate(point)(x), small(x), rtol=1e-4, atol=1e-4)


def test_a_supernet_built_on_the_cpu_moves(device):
    supernet, x = supernet_on("cpu")
    moved = copy.deepcopy(supernet).to(device).eval()
    point = supernet.space.sample(seed=2)
    expected = supernet.eval().activate(point)(x)
    torch.testing.assert_close(moved.activate(point)(x.to(device)).cpu(), expected, rtol=1e-3, atol=1e-3)


def test_training_steps_draw_paths_and_change_weights(device, record_property):
    supernet, x = supernet_on(device)
    y = torch.randint(0, 10, (8,), device=device)
    supernet.train().sampling("uniform", seed=0)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1)
    before = [p.detach().clone() for p in supernet.parameters()]
    seen, started_s = set(), time.perf_counter()
    for _ in range(20):
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(supernet(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.add(supernet.active_point)
    assert torch.isfinite(loss)
    record_property("supernet step ms", f"{(time.perf_counter() - started_s) * 50:.2f}")
    assert len(seen) > 5
    assert any(not torch.equal(a, b) for a, b in zip(before, supernet.parameters(), strict=True))


def step_ms(model, x, device):
    """Median wall time of a training step."""
    y = torch.randint(0, 10, (len(x),), device=device)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    times = []
    for _ in range(25):
        started_s = time.perf_counter()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started_s))
    return sorted(times[5:])[10]


def test_a_step_of_the_supernet_beside_one_of_the_plain_net(device, record_property):
    supernet, x = supernet_on(device)
    plain_ms = step_ms(net().to(device).train(), x, device)
    active_ms = step_ms(supernet.train(), x, device)
    drawn_ms = step_ms(supernet.sampling("uniform", seed=0), x, device)
    record_property("step ms: plain net", f"{plain_ms:.2f}")
    record_property("step ms: supernet, given point", f"{active_ms:.2f}")
    record_property("step ms: supernet, sampling", f"{drawn_ms:.2f}")


def test_costs_are_the_same_on_any_device(device):
    supernet, _ = supernet_on(device)
    on_cpu, _ = supernet_on("cpu")
    points = supernet.space.samples(50, seed=3)
    ours, theirs = supernet.cost(points), on_cpu.cost(points)
    assert all((ours[metric] == theirs[metric]).all() for metric in theirs)


def test_copies_and_states_stay_on_the_device(device, tmp_path):
    supernet, x = supernet_on(device)
    clone = copy.deepcopy(supernet).eval()
    torch.save(supernet.state_dict(), tmp_path / "state.pt")
    other, _ = supernet_on("cpu")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True, map_location="cpu"))
    other.to(device).eval()
    for point in supernet.space.samples(4, seed=5):
        expected = supernet.eval().activate(point)(x)
        assert expected.device.type == torch.device(device).type
        torch.testing.assert_close(clone.activate(point)(x), expected)
        torch.testing.assert_close(other.activate(point)(x), expected)


def test_candidates_are_built_on_the_device(device):
    supernet = mn.rewrite(
        net().to(device),
        [mn.rules.replace(nn.Conv2d, ["original", *mn.ops.names("2d")])],
        example=torch.randn(2, 3, 16, 16, device=device),
    ).eval()
    x = torch.randn(2, 3, 16, 16, device=device)
    assert {parameter.device.type for parameter in supernet.parameters()} == {torch.device(device).type}
    for name in mn.ops.names("2d"):
        point = {"0.op": name, "3.op": name}
        small = mn.derive(supernet, point).eval()
        torch.testing.assert_close(supernet.activate(point)(x), small(x), rtol=1e-4, atol=1e-4)


def test_search_and_export(device, tmp_path):
    supernet, x = supernet_on(device)
    evaluator = mn.evaluate.SharedWeights(supernet, lambda n: n(x).std().item(), calibration=[x])
    study = mn.Study(supernet.space, mn.search.Random(), objectives={"accuracy": "max"}, seed=0)
    study.optimize(evaluator, trials=6, progress=False)
    small = mn.derive(supernet, study.best_trial.point).eval()
    loaded = mn.load_export(mn.export(small, tmp_path, example=x))
    torch.testing.assert_close(loaded(x.cpu()), small(x).cpu(), rtol=1e-3, atol=1e-3)
