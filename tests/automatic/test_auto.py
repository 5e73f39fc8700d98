"""The one-call form: what it plans, that it goes on, what it says when it is used wrongly."""

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.automatic.auto import _seconds
from modularnas.cli import main

X, Y = torch.randn(48, 3, 8, 8), torch.arange(48) % 4
X += Y[:, None, None, None] / 2


def small():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def fit(net):
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    for _ in range(6):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(X), Y).backward()
        optimizer.step()


def score(net):
    with torch.no_grad():
        return (net(X).argmax(1) == Y).float().mean().item()


def quiet(line):
    pass


@pytest.mark.slow
def test_it_searches_trains_compares_and_exports(tmp_path):
    said = []
    model = small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = mn.searchable(model, example=X[:1], say=quiet).cost(
        mn.searchable(model, example=X[:1], say=quiet).original_point
    )
    found = mn.auto(
        model, fit, score, X[:1], limits={"macs": given["macs"]}, budget="1s", out=tmp_path / "run", say=said.append
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert set(found.table) == {"searched", "random", "given"}
    assert found.table["searched"]["macs"] <= given["macs"]
    assert found.table["given"]["macs"] == given["macs"]
    assert score(found.net) == pytest.approx(found.table["searched"]["accuracy"])
    text = "\n".join(said)
    for what in ("with kernel_size(3, 5): it opens 2 decisions", "without depth(): ", "NSGA-II, for several objectives", "by the sandwich rule (the largest, two at random, the smallest in turn): 2 widths and depths", "batch norms: measured anew", "Best accuracy: "):  # fmt: skip
        assert what in text
    assert (tmp_path / "run" / "card.md").read_text().startswith("| | accuracy | macs |")
    torch.testing.assert_close(mn.load_export(tmp_path / "run" / "network")(X), found.net(X))

    again = []
    other = mn.auto(
        small(), fit, score, X[:1], limits={"macs": given["macs"]}, budget="1s", out=tmp_path / "run", say=again.append
    )
    assert other.table == found.table
    assert sum("done before" in line for line in again) == 7


@pytest.mark.slow
def test_what_depends_on_a_changed_function_runs_again(tmp_path):
    ran = []

    def run(shift):
        def measured(net):
            return score(net) + shift

        ran.clear()
        lines = []
        mn.auto(
            small(), fit, measured, X[:1], budget=1, rules=[mn.rules.kernel_size(3, 5)], out=tmp_path, say=lines.append
        )
        return [line.partition(":")[0] for line in lines if line.endswith(": started")]

    everything = [
        "train_supernet",
        "baseline",
        "schedule",
        "search_searched",
        "search_random",
        "train_searched",
        "train_random",
    ]
    assert sorted(run(0.0)) == sorted(everything)
    assert run(0.0) == []
    assert "baseline" in run(1.0)


def test_latency_is_an_objective_where_it_is_asked_for(tmp_path, capsys):
    said = []
    found = mn.auto(
        small(), fit, score, X[:1], objectives={"accuracy": "max", "latency_ms": "min"}, limits={"latency_ms": 1e6},
        budget="1s", rules=[mn.rules.kernel_size(3, 5)], out=tmp_path, say=said.append,
    )  # fmt: skip
    assert all(row["latency_ms"] > 0 for row in found.table.values())
    text = "\n".join(said)
    assert "latency_ms: predicted from a table of the layers' times on this machine" in text
    assert "at random, each value of a decision as often: no width or depth varies" in text
    assert (tmp_path / "card.md").read_text().startswith("| | accuracy | latency_ms |")
    assert main(["report", str(tmp_path)]) == 0
    assert found.card in capsys.readouterr().out
    with pytest.raises(mn.PipelineError, match="latency_ms is asked for and the example is a dict"):
        mn.auto(small(), fit, score, {"input": X[:1]}, limits={"latency_ms": 1}, out=tmp_path, say=quiet)


def test_wrong_use(tmp_path):
    with pytest.raises(mn.PipelineError, match="budget is '1 week'; expected such as '90s'"):
        mn.auto(small(), fit, score, X[:1], budget="1 week", out=tmp_path, say=quiet)
    with pytest.raises(mn.PipelineError, match="limits names 'mac'; did you mean 'macs'"):
        mn.auto(small(), fit, score, X[:1], limits={"mac": 1}, out=tmp_path, say=quiet)
    with pytest.raises(mn.RuleError, match="nothing in the model can vary"):
        mn.auto(nn.Sequential(nn.ReLU()), fit, score, X[:1], out=tmp_path, say=quiet)

    def broken(net):
        raise ZeroDivisionError("no data")

    with pytest.raises(mn.PipelineError, match="stage 'train_supernet' failed: ZeroDivisionError: no data"):
        mn.auto(small(), broken, score, X[:1], rules=[mn.rules.kernel_size(3, 5)], out=tmp_path, say=quiet)
    assert [_seconds(budget) for budget in ("90s", "1.5m", "1h", 7)] == [90, 90, 3600, 7]
