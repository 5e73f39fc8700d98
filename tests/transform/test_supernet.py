"""The supernet in ordinary PyTorch use: training loops, state, copies, devices, workers, costs, the report."""

import copy
import io
import json
import pickle
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import modularnas as mn

X = torch.randn(4, 3, 12, 12)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.config = {"classes": 5}
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 5, stride=2, padding=2),
            nn.ReLU(),
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.features(x))

    def features(self, x):
        return self.body(x).mean((2, 3))


def rewritten(net=None):
    rules = [
        mn.rules.kernel_size(3, 5, 7),
        mn.rules.replace(nn.Conv2d, ["original", "sep_conv_3x3", "none"], where="body.3"),
        mn.rules.replace(nn.ReLU, ["original", nn.SiLU]),
    ]
    return mn.rewrite(net or Net(), rules, example=X)


def step(supernet, optimizer):
    loss = nn.functional.cross_entropy(supernet(X), torch.tensor([0, 1, 2, 3]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def drawn(supernet, n):
    points = []
    with torch.no_grad():
        for _ in range(n):
            supernet(X)
            points.append(supernet.active_point)
    return points


def test_a_plain_loop_with_sampling_trains_every_choice():
    supernet = rewritten().train().sampling("uniform", seed=0)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.05)
    before = {name: parameter.detach().clone() for name, parameter in supernet.named_parameters()}
    losses = [step(supernet, optimizer) for _ in range(80)]
    assert np.mean(losses[-20:]) < np.mean(losses[:20])
    assert not [name for name, parameter in supernet.named_parameters() if torch.equal(parameter, before[name])]


def test_sampling_is_uniform_over_the_values_of_each_decision():
    supernet = rewritten().train().sampling("uniform", seed=1)
    ops = [point["body.3.op"] for point in drawn(supernet, 600)]
    assert {name: ops.count(name) > 150 for name in set(ops)} == dict.fromkeys(
        ["original", "sep_conv_3x3", "none"], True
    )


def test_sampling_is_a_function_of_seed_and_step():
    first, second, other = (rewritten().train().sampling("uniform", seed=seed) for seed in (3, 3, 4))
    points = drawn(first, 12)
    assert points == drawn(second, 12)
    assert points != drawn(other, 12)
    assert drawn(first.sampling("uniform", seed=3), 12) == points


def test_sampling_resumes_from_the_state_dict():
    whole = rewritten().train().sampling("uniform", seed=3)
    expected = drawn(whole, 12)
    cut = rewritten().train().sampling("uniform", seed=3)
    drawn(cut, 5)
    resumed = rewritten().train().sampling("uniform", seed=3)
    resumed.load_state_dict(cut.state_dict())
    assert drawn(resumed, 7) == expected[5:]


PATHS = """
import json, torch, modularnas as mn
from torch import nn
net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
x = torch.randn(1, 3, 8, 8)
supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7)], example=x).train().sampling("uniform", seed=9)
print(json.dumps([(supernet(x), list(supernet.active_point.values()))[1] for _ in range(20)]))
"""


def test_paths_are_the_same_in_another_process():
    found = subprocess.run([sys.executable, "-c", PATHS], capture_output=True, text=True, check=True).stdout
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7)], example=X).train().sampling("uniform", seed=9)
    assert json.loads(found) == [list(point.values()) for point in drawn(supernet, 20)]


def test_nothing_is_drawn_in_eval_mode_or_without_sampling():
    supernet = rewritten().sampling("uniform", seed=0).eval()
    point = supernet.space.sample(seed=5)
    supernet.activate(point)
    assert set(drawn(supernet, 5)) == {point}
    supernet.train().sampling(None)
    assert set(drawn(supernet, 5)) == {point}


def test_sampling_takes_no_random_numbers_of_the_users():
    supernet = rewritten().train().sampling("uniform", seed=0)
    state = torch.get_rng_state()
    drawn(supernet, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_modes_reach_every_module():
    supernet = rewritten()
    assert supernet.training
    assert not any(module.training for module in supernet.eval().modules())
    assert all(module.training for module in supernet.train().modules())


def test_deepcopy_is_independent_and_pickle_brings_it_back():
    supernet = rewritten().train().sampling("uniform", seed=2)
    drawn(supernet, 3)
    for again in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):
        assert again.space == supernet.space
        assert again.active_point == supernet.active_point
        assert again.original_point == supernet.original_point
        assert drawn(copy.deepcopy(again), 4) == drawn(copy.deepcopy(supernet), 4)
        again.eval()
        for point in again.space.samples(6, seed=1):
            assert again.cost(point) == supernet.cost(point)
            expected = mn.derive(supernet, point).eval()(X)
            torch.testing.assert_close(again.activate(point)(X), expected)
            torch.testing.assert_close(mn.derive(again, point).eval()(X), expected)
        with torch.no_grad():
            next(again.parameters()).add_(1.0)
        assert not torch.equal(next(again.parameters()), next(supernet.parameters()))


def test_state_dict_goes_through_a_file():
    supernet = rewritten().train().sampling("uniform", seed=2)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1)
    for _ in range(5):
        step(supernet, optimizer)
    file = io.BytesIO()
    torch.save(supernet.state_dict(), file)
    file.seek(0)
    other = rewritten()
    other.load_state_dict(torch.load(file, weights_only=True))
    for point in supernet.space.samples(4, seed=1):
        torch.testing.assert_close(other.eval().activate(point)(X), supernet.eval().activate(point)(X))


def test_dtype_follows():
    supernet = rewritten().to(torch.float64).eval()
    for point in supernet.space.samples(6, seed=1):
        out = supernet.activate(point)(X.double())
        assert out.dtype == torch.float64
        torch.testing.assert_close(mn.derive(supernet, point).eval()(X.double()), out)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers(method):
    rewritten()
    loader = DataLoader(
        TensorDataset(torch.randn(8, 3, 12, 12), torch.arange(8)), 4, num_workers=2, multiprocessing_context=method
    )
    assert torch.cat([y for _, y in loader]).tolist() == list(range(8))


def test_attributes_and_methods_of_the_model_are_found():
    supernet = rewritten()
    assert supernet.config == {"classes": 5}
    assert supernet.features(X).shape == (4, 8)
    assert supernet.head is supernet.model.head
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'tail'"):
        _ = supernet.tail


def test_hooks_on_the_given_layers_are_called():
    supernet = rewritten().eval()
    seen = []
    supernet.body[0].register_forward_hook(lambda module, args, output: seen.append(output.shape))
    supernet(X)
    assert seen == [(4, 8, 12, 12)]


def test_cost_takes_a_point_points_and_indices():
    supernet = rewritten()
    points = supernet.space.samples(20, seed=3)
    one = [supernet.cost(point) for point in points]
    assert {type(value) for cost in one for value in cost.values()} == {int}
    for table in (supernet.cost(points), supernet.cost(supernet.space.indices(points))):
        assert list(table) == ["params", "macs", "activation_bytes"]
        for metric, column in table.items():
            assert column.dtype == np.int64
            assert column.tolist() == [cost[metric] for cost in one]
    assert supernet.cost(dict(points[0])) == one[0]
    assert supernet.cost([])["params"].shape == (0,)


def test_activation_bytes_are_those_of_leaf_outputs():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    rules = [mn.rules.kernel_size(3, 5), mn.rules.replace(nn.ReLU, ["original", "sep_conv_3x3"])]
    supernet = mn.rewrite(net, rules, example=torch.randn(1, 3, 4, 4))
    assert supernet.cost({"0.kernel_size": 5, "1.op": "original"})["activation_bytes"] == 2 * 8 * 16 * 4
    assert supernet.cost({"0.kernel_size": 5, "1.op": "sep_conv_3x3"})["activation_bytes"] == 9 * 8 * 16 * 4


def test_report():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, (1, 3)))
    rules = [mn.rules.kernel_size(1, 3), mn.rules.replace(nn.Conv2d, ["original", "conv_1x1"], where="0")]
    report = mn.rewrite(net, rules, example=X).report()
    assert str(report) == (
        "0  Conv2d  searchable  op: original, conv_1x1\n"
        "0  Conv2d  fused       merged into one kernel: original, conv_1x1 (apart on tiny pictures)\n"
        "0  Conv2d  searchable  kernel size: 1, 3 (while 0.op is original)\n"
        "2  Conv2d  fixed       kernel_size: it is 1x1; name it by where= to open it\n"
        "3  Conv2d  fixed       kernel_size: its kernel [1, 3] is not square\n"
        "2 decisions, 3 points\n"
        "params             304 to 496\n"
        f"macs               {report.bounds['macs'][0]:,} to {report.bounds['macs'][1]:,}\n"
        f"activation_bytes   {report.bounds['activation_bytes'][0]:,} (every point)"
    )


def test_the_report_is_drawn():
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)), nn.Conv2d(8, 8, 1))
    report = mn.rewrite(net, [mn.rules.kernel_size(1, 3), mn.rules.width(0.5, 1.0)], example=X).report()
    picture = ElementTree.fromstring(report.svg())
    ns = "{http://www.w3.org/2000/svg}"
    tooltips = {group.find(f"{ns}title").text: group.find(f"{ns}rect") for group in picture.iter(f"{ns}g")}
    assert len(tooltips) == 5  # every module, and what holds them
    first = next(text for text in tooltips if text.startswith("0.0 (Conv2d)"))
    assert "searchable, kernel size: 1, 3" in first
    colours = {text.split()[0]: rect.get("fill") for text, rect in tooltips.items()}
    assert colours["0.0"] == "#cfe8fc"  # searchable
    assert colours["0.1"] == "#d8f5dd"  # coupled
    assert any(text.startswith("1 (Conv2d)\nfixed, ") or "coupled" in text for text in tooltips)
    boxes = {
        text.split()[0]: [float(rect.get(k)) for k in ("x", "y", "width", "height")] for text, rect in tooltips.items()
    }
    x, y, width, height = boxes["the"]
    for bx, by, bw, bh in boxes.values():
        assert x <= bx
        assert y <= by
        assert bx + bw <= x + width + 1e-6
        assert by + bh <= y + height + 1e-6
    assert report.svg() in report._repr_html_()
    assert "<script" not in report._repr_html_()


def test_the_report_as_a_table_of_rich():
    console = pytest.importorskip("rich.console")
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    report = mn.rewrite(net, [mn.rules.kernel_size(1, 3)], example=X).report()
    out = console.Console(width=100, file=io.StringIO())
    out.print(report)
    assert "kernel size: 1, 3" in out.file.getvalue()
    assert "1 decision, 2 points" in out.file.getvalue()


def test_repr_names_space_and_active_choices():
    supernet = rewritten()
    supernet.activate({**dict(supernet.original_point), "body.2.op": "SiLU"})
    text = repr(supernet)
    assert f"<SearchSpace: 5 decisions, {supernet.space.size} points>" in text
    assert "original, SiLU; active=SiLU" in text
    assert "ElasticConv2d(3, 8, kernel_size=(3, 3)" in text
