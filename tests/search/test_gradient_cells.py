"""Gradient-based search on cells: edges of nodes, shared decisions, published tables, collapse."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn import functional

import modularnas as mn

METHODS = ["DARTS", "DirectGradient", "DrNAS", "FairDARTS", "GDAS", "PCDARTS", "PDARTS", "ProxylessNAS", "ProxylessR"]
METHODS += ["SDARTS", "SNAS", "StacNAS"]
BATCH = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])


def loss_fn(net, batch):
    return functional.cross_entropy(net(batch[0]), batch[1])


@functools.cache
def made(name, **settings):
    torch.manual_seed(0)
    return mn.spaces.create(name, num_classes=4, image_size=8, **settings)[0]


def darts(fuse=True):
    return copy.deepcopy(made("darts", channels=4, layers=3, fuse=fuse))


def cells(channels=4):
    return copy.deepcopy(made("nasbench201", channels=channels, cells=1))


def expected_genotype(weights, beta=None):
    """The authors' rule: per node the two edges with the strongest op other than none, and that op."""
    values = {}
    for kind in ("normal", "reduce"):
        for node in range(4):
            edges = []
            for edge in range(2 + node):
                of_edge = {op: w for op, w in weights[f"{kind}.{node}.{edge}"].items() if op != "none"}
                best = max(of_edge, key=lambda op, of=of_edge: of[op])
                scale = (
                    1.0 if beta is None or not node else torch.softmax(beta[f"{kind}.{node}.edges"], -1)[edge].item()
                )
                edges.append((of_edge[best] * scale, edge, best))
            kept = sorted(sorted(edges, reverse=True)[:2], key=lambda found: found[1])
            if node:
                values[f"{kind}.{node}.edges"] = tuple(edge for _, edge, _ in kept)
            values.update({f"{kind}.{node}.{edge}": op for _, edge, op in kept})
    return values


@pytest.mark.parametrize("name", ["DARTS", "PCDARTS"])
def test_a_genotype_is_darts_rule(name):
    net = darts()
    search = getattr(mn.search, name)(net)
    with torch.no_grad():
        for alpha in (*net.alpha.values(), *net.edge_alpha.values()):
            alpha.copy_(torch.randn(alpha.shape))
    assert len(net.alpha) == 28
    assert len(net.edge_alpha) == (6 if name == "PCDARTS" else 0)
    expected = expected_genotype(net.relaxed.labelled(), net.edge_alpha if name == "PCDARTS" else None)
    # Node 0 has two inputs and keeps both; there "none" may win, as everywhere without a choice of edges.
    found = {key: value for key, value in search.point().items() if not key.split(".")[1] == "0"}
    assert found == {key: value for key, value in expected.items() if not key.split(".")[1] == "0"}
    point = search.point()
    net.eval().activate(point)
    torch.testing.assert_close(net(BATCH[0]), mn.derive(net, point).eval()(BATCH[0]))


def test_all_cells_of_a_kind_share_their_parameters_and_draws():
    net = darts().relax("straight_through").train()
    net(BATCH[0])
    for name in net.relaxed.candidates:
        paths = {id(mixed.paths) for mixed in net.relaxed.modules(name)}
        assert len(paths) == 1
    normal = net.relaxed.modules("normal.1.2")
    assert len(normal) == 1  # three cells, of which two reduce
    assert len(net.relaxed.modules("reduce.1.2")) == 2


def test_edges_are_weighed_by_parameters_of_their_own():
    net = darts()
    search = mn.search.PCDARTS(net)
    search.backward(loss_fn, BATCH, BATCH)
    assert all(alpha.grad.abs().sum() > 0 for alpha in net.edge_alpha.values())
    (cell,) = [ops for ops in net.relaxed.edges["normal.3.edges"]]
    scales = torch.stack([mixed.scale for mixed in cell])
    torch.testing.assert_close(scales, torch.softmax(net.edge_alpha["normal.3.edges"], -1))
    state = net.state_dict()
    other = darts()
    other.load_state_dict(state)
    torch.testing.assert_close(dict(other.edge_alpha.items()), dict(net.edge_alpha.items()))


def test_fused_cells_equal_the_plain_ones():
    plain, fused = darts(False).double(), darts(True).double()
    fused.load_state_dict(plain.state_dict())
    found = []
    for net in (plain, fused):
        net.relax("softmax").train()
        with torch.no_grad():
            for i, alpha in enumerate(net.alpha.values()):
                alpha.copy_(torch.randn(alpha.shape, generator=torch.Generator().manual_seed(i)))
        loss_fn(net, (BATCH[0].double(), BATCH[1])).backward()
        found.append({n: p.grad for n, p in net.named_parameters() if p.grad is not None})
        found[-1].update(net.named_buffers())
    torch.testing.assert_close(found[1], found[0])


def test_expected_costs_draw_edges_uniformly():
    net = darts().relax("softmax")
    expected = net.relaxed.expected_cost("macs").item()
    points = net.space.samples(3000, seed=0)
    mean = net.cost(points)["macs"].mean()
    assert expected == pytest.approx(mean, rel=0.02)  # near zero parameters choose uniformly, too


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_on_the_cells_of_nasbench201(name):
    net = cells().train()
    search = getattr(mn.search, name)(net)
    weights = [p for n, p in net.named_parameters() if "alpha" not in n]
    optimizer = torch.optim.SGD(weights, 0.05, momentum=0.9)
    for _ in range(2):
        search.step(loss_fn, BATCH, BATCH, weights_optimizer=optimizer)
        optimizer.zero_grad()
        loss_fn(net, BATCH).backward()
        optimizer.step()
    assert search.point() in net.space
    assert set(net.alpha) == {"edge_0_1", "edge_0_2", "edge_1_2", "edge_0_3", "edge_1_3", "edge_2_3"}


def test_a_collapsed_cell_is_noticed_and_is_the_known_one(data):
    """The cell of skip connections, where plain DARTS ends, has 54.30 % in the table; the guard says so before."""
    bench = mn.benchmarks.NASBench201(data / "nasbench201.npz", dataset="cifar10")
    net = cells()
    search = mn.search.DARTS(net)
    guard = mn.search.CollapseGuard(search, max_skips=3, ratio=None)
    seen = []
    for skips in range(7):
        with torch.no_grad():
            for i, alpha in enumerate(net.alpha.values()):
                alpha.zero_()[1 if i < skips else 3] = 1.0
        seen.append(guard())
    assert [reason is not None for reason in seen] == [False] * 4 + [True] * 3
    assert list(guard.safe_point.values()).count("skip_connect") == 3
    known = bench.query(bench.space.point(dict(search.point())))
    assert known["test_accuracy"] == pytest.approx(54.30, abs=0.005)


def test_plain_darts_prefers_skips_and_the_guard_stops_it():
    """Skip connections train first: with weights that cannot follow, DARTS fills the cell with them."""
    net = cells(8).train()
    search = mn.search.DARTS(net, optimizer=torch.optim.Adam([torch.zeros(1, requires_grad=True)], 0.05))
    search.optimizer = torch.optim.Adam(search.alphas, 0.05, betas=(0.5, 0.999))
    guard = mn.search.CollapseGuard(search, max_skips=2, ratio=None)
    weights = [p for n, p in net.named_parameters() if "alpha" not in n]
    optimizer = torch.optim.SGD(weights, 0.025, momentum=0.9)
    reason = None
    for step in range(80):
        generator = torch.Generator().manual_seed(step)
        y = torch.randint(0, 4, (16,), generator=generator)
        x = torch.randn(16, 3, 8, 8, generator=generator) + y.view(-1, 1, 1, 1) * torch.tensor([1.0, -1.0, 0.5]).view(
            1, 3, 1, 1
        )
        search.step(loss_fn, (x, y), (x, y), weights_optimizer=optimizer)
        optimizer.zero_grad()
        loss_fn(net, (x, y)).backward()
        optimizer.step()
        reason = guard()
        if reason:
            break
    assert reason is not None
    assert "skip connections, more than 2" in reason
    assert isinstance(net.model, nn.Module)
