"""Latency, tables of it, memory, energy and size."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.evaluate import energy

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Slow(nn.Module):
    """Takes about as many units of time as it says, on any machine."""

    def __init__(self, units):
        super().__init__()
        self.units = units

    def extra_repr(self):
        return f"units={self.units}"

    def forward(self, x):
        for _ in range(self.units):
            x = (x.double() @ x.double().transpose(-1, -2) @ x.double()).float() * 1e-3
        return x


def body():
    block = [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(*block), nn.Conv2d(8, 4, 3, padding=1))


@pytest.fixture(scope="module")
def supernet():
    rules = [mn.rules.kernel_size(3, 5), mn.rules.replace(nn.ReLU, ["original", "identity"])]
    return mn.rewrite(body(), rules, example=X)


@pytest.fixture(scope="module")
def table(supernet):
    return mn.evaluate.LatencyTable.measure(supernet, X, repeats=5, n_networks=8, n_points=8, clock="cpu")


def test_timing_puts_everything_back():
    net = body().train()
    threads = torch.get_num_threads()
    timing = mn.evaluate.measure_latency(net, X, repeats=7, n_threads=2)
    assert timing.n == 7
    assert 0 < timing.low_ms <= timing.median_ms <= timing.high_ms
    assert timing.spread_ms == timing.high_ms - timing.low_ms
    assert net.training
    assert torch.get_num_threads() == threads
    assert net[1][1].num_batches_tracked == 0


def test_latency_and_throughput_in_a_study():
    space = mn.SearchSpace({"units": mn.choice([1, 40])})
    joined = mn.evaluate.Joined(
        mn.evaluate.Latency(lambda p: Slow(p["units"]), X, repeats=5, clock="cpu"),
        mn.evaluate.Throughput(lambda p: Slow(p["units"]), (X,), repeats=5, clock="cpu"),
    )
    study = mn.Study(space, "grid", objectives={"latency_ms": "min", "throughput": "max"})
    study.optimize(joined, trials=2, progress=False)
    (best,) = study.pareto_front
    assert best.point["units"] == 1
    assert best.values["latency_spread_ms"] >= 0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"repeats": 0}, "repeats is 0 and warmup 5; expected 1 or more"),
        ({"clock": "sun"}, "clock is 'sun'; expected 'wall' or 'cpu'"),
        ({"clock": "cpu", "n_threads": 2}, "clock='cpu' counts the calling thread on a CPU; the device is cpu with 2"),
    ],
)
def test_wrong_timings(settings, text):
    with pytest.raises(mn.EvaluationError) as found:
        mn.evaluate.measure_latency(body(), X, **settings)
    assert str(found.value).startswith(text)


def test_a_layer_depends_on_what_changes_it(supernet, table):
    names = [decision.name for decision in supernet.space.decisions]
    groups = {tuple(names[d] for d in decisions) for decisions, _ in table._tables}
    assert groups == {(), *((name,) for name in names)}
    assert all(_TAG not in module.__dict__ for module in supernet.modules())


_TAG = "_latency_layer"


def test_a_table_predicts_every_point_and_comes_back_from_text(supernet, table):
    points = supernet.space.samples(30, seed=5)
    mean, std = table.predict(points, std=True)
    assert (mean > 0).all()
    assert (std >= 0).all()
    text = table.to_json()
    json.loads(text)
    same = mn.evaluate.LatencyTable.from_json(text)
    assert np.array_equal(same.predict(points), mean)
    assert same.predict(points[0]) == table.predict(points[0])
    assert table.predict(points[0], std=True) == pytest.approx((mean[0], std[0]), rel=1e-9)
    trials = mn.evaluate.candidates(points[:2])
    assert same.evaluate(trials) == [
        {"latency_ms": m, "latency_ms_std": s} for m, s in zip(mean[:2], std[:2], strict=True)
    ]
    assert not supernet.space.metrics == []


def test_a_table_ranks_what_it_measured():
    space = mn.SearchSpace({name: mn.choice([1, 10, 100]) for name in "abc"})

    def build(point):
        return nn.Sequential(*[Slow(units) for units in point.values()])

    x = torch.randn(1, 1, 24, 24)
    table = mn.evaluate.LatencyTable.measure(build, x, space=space, repeats=7, n_networks=10, clock="cpu")
    points = space.samples(40, seed=9)
    truth = [sum(point.values()) for point in points]
    assert mn.evaluate.rank_report(table.predict(points), truth, resamples=1).spearman > 0.8
    assert {len(decisions) for decisions, _ in table._tables} <= {0, 1}


def test_a_fitted_table_learns_sums_products_and_outliers():
    space = mn.SearchSpace({f"layer{i}": mn.choice(range(4)) for i in range(10)})
    points, unseen = space.samples(120, seed=0), space.samples(100, seed=1)

    def truth(point):
        return 1 + sum((i + 1) * value for i, value in enumerate(point.values())) / 20

    for make in (truth, lambda point: float(np.exp(truth(point) / 3))):
        known = np.array([make(point) for point in points])
        known[::20] *= 5  # runs that were disturbed
        table = mn.evaluate.LatencyTable.fit(space, points, known, "some phone")
        report = mn.evaluate.rank_report(table.predict(unseen), [make(point) for point in unseen], resamples=1)
        assert report.spearman > 0.97
        assert mn.evaluate.LatencyTable.from_json(table.to_json()).device == "some phone"


@pytest.mark.slow
def test_published_devices(data):
    z = np.load(data / "nas_misc.npz")
    space = mn.SearchSpace({f"layer{i}": mn.choice(range(9)) for i in range(22)})
    points = [space.point({f"layer{i}": int(op) for i, op in enumerate(row)}) for row in z["fbnet_ops"][:1200]]
    found = []
    for name in ("eyeriss", "fpga", "2080ti_64", "titanx_1"):
        column = z["fbnet_latency_ms"][:1200, list(z["fbnet_devices"]).index(name)].astype(float)
        table = mn.evaluate.LatencyTable.fit(space, points[:200], column[:200])
        found.append(mn.evaluate.rank_report(table.predict(points[200:]), column[200:], resamples=1).spearman)
    assert min(found) > 0.95


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (
            lambda: mn.evaluate.LatencyTable.measure(lambda p: body(), X),
            "LatencyTable.measure is given a function; give",
        ),
        (lambda: mn.evaluate.LatencyTable.from_json("{}"), "this is no latency table of LatencyTable.to_json"),
        (
            lambda: mn.evaluate.LatencyTable.fit(SPACE, SPACE.samples(2), [1.0, 0.0]),
            "LatencyTable.fit is given 2 points and latencies of shape (2,), 1 of them finite and above 0",
        ),
        (lambda: mn.evaluate.PeakMemory(body, X, how="guessed"), "how is 'guessed'; expected 'counted' or 'measured'"),
        (lambda: mn.evaluate.measure_peak_memory(body(), X, device="meta"), "peak memory is not available on meta"),
    ],
)
def test_wrong_use(act, text):
    with pytest.raises(mn.EvaluationError) as found:
        act()
    assert str(found.value).startswith(text)


SPACE = mn.SearchSpace({"n": mn.choice([1, 2])})


def test_counted_memory_of_a_chain_by_hand():
    net = nn.Sequential(nn.Linear(10, 100, bias=False), nn.Linear(100, 20, bias=False))
    x = torch.randn(5, 10)
    held = 4 * (10 * 100 + 100 * 20 + 5 * 10)
    assert mn.evaluate.count_peak_memory(net, x) == held + 4 * (5 * 100 + 5 * 20)
    # Backward makes a gradient of each weight while the activations live.
    assert mn.evaluate.count_peak_memory(net, x, training=True) > 2 * 4 * (10 * 100 + 100 * 20)


def test_counted_memory_of_a_network_with_buffers():
    net, x = nn.Sequential(nn.Linear(10, 100, bias=False), nn.BatchNorm1d(100), nn.Linear(100, 1)), torch.randn(5, 10)
    held = 4 * (10 * 100 + 4 * 100 + 100 + 1 + 5 * 10) + 8
    assert mn.evaluate.count_peak_memory(net, x) == held + 4 * 2 * 5 * 100
    assert all(type(tensor) is torch.Tensor for tensor in net.state_dict().values())


@pytest.mark.parametrize(
    "make",
    [
        lambda supernet, x: mn.evaluate.Latency(supernet, x, repeats=2),
        lambda supernet, x: mn.evaluate.Throughput(supernet, x, repeats=2),
        lambda supernet, x: mn.evaluate.PeakMemory(supernet, x, training=True),
        lambda supernet, x: mn.evaluate.PeakMemory(supernet, x, how="measured"),
        lambda supernet, x: mn.evaluate.ModelSize(supernet),
    ],
    ids=["latency", "throughput", "counted memory", "measured memory", "model size"],
)
def test_a_supernet_with_batch_norms_is_measured_and_left_alone(make):
    x = torch.randn(4, 3, 8, 8)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=x)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    outcomes = make(supernet, x).evaluate(mn.evaluate.candidates(supernet.space.samples(3, seed=0)))
    assert all(value >= 0 for outcome in outcomes for value in outcome.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


def test_measured_memory_is_near_the_counted():
    net, x = nn.Sequential(*[nn.Linear(256, 256) for _ in range(4)]), torch.randn(512, 256)
    for training in (False, True):
        counted = mn.evaluate.count_peak_memory(net, x, training=training)
        assert 0.8 < mn.evaluate.measure_peak_memory(net, x, training=training) / counted < 1.5
    assert all(parameter.grad is None for parameter in net.parameters())


def test_memory_and_size_grow_with_the_network(tmp_path):
    def build(point):
        return nn.Conv2d(3, 8 * point["n"], 3)

    def export(net, folder):
        torch.save(net.state_dict(), f"{folder}/weights.pt")
        (tmp_path / "seen").touch()

    evaluators = [
        mn.evaluate.PeakMemory(build, X),
        mn.evaluate.PeakMemory(build, X, how="measured"),
        mn.evaluate.ModelSize(build),
        mn.evaluate.ModelSize(build, export),
    ]
    for evaluator in evaluators:
        small, large = (
            next(iter(o.values())) for o in evaluator.evaluate(mn.evaluate.candidates(SPACE.unrank(i) for i in (0, 1)))
        )
        assert 0 < small < large
    assert (tmp_path / "seen").exists()


def counter(folder, value, package=0):
    package = folder / f"intel-rapl:{package}"
    package.mkdir(exist_ok=True)
    (package / "energy_uj").write_text(f"{value}\n")
    (package / "max_energy_range_uj").write_text("1000000\n")


def test_energy_of_counters_that_wrap_round(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_RAPL", tmp_path)
    counter(tmp_path, 900_000)
    counter(tmp_path, 0, package=1)
    evaluator = mn.evaluate.Energy(lambda p: body(), X, repeats=10, warmup=0)
    counter(tmp_path, 100_000)
    counter(tmp_path, 300_000, package=1)
    assert evaluator.joules() == pytest.approx(0.5)
    (outcome,) = evaluator.evaluate(mn.evaluate.candidates([SPACE.sample()]))
    assert outcome == {"energy_mj": 0.0}


def test_energy_says_where_it_is_not_available(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_RAPL", tmp_path)
    with pytest.raises(mn.EvaluationError) as found:
        mn.evaluate.Energy(lambda p: body(), X)
    assert str(found.value) == (
        f"energy is not available on this CPU: there is no RAPL counter in {tmp_path}; leave the metric out, or measure "
        "elsewhere"
    )
