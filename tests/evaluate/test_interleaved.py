"""Evolution on a supernet that trains on what is asked for (CARS, ModularNAS' UnifiedEstim)."""

import pytest
import torch
from torch import nn

import modularnas as mn

X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def parts():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
    rules = [mn.rules.replace(nn.Conv2d, ["original", "conv_1x1", "conv_5x5"])]
    supernet = mn.rewrite(net, rules, example=X)
    return supernet, torch.optim.SGD(supernet.parameters(), 0.01)


def trainer(supernet, optimizer, seen):
    def train(points):
        seen.append(points)
        supernet.train().sampling(mn.train.Population(points))
        for _ in range(2 * len(points)):
            optimizer.zero_grad()
            supernet(X).square().mean().backward()
            optimizer.step()
        supernet.sampling(None)

    return train


def score(net):
    with torch.no_grad():
        return -net(X).square().mean().item()


def test_every_point_that_is_drawn_is_trained():
    """The original drops what a discrete search draws: 8 architectures drawn, 1 trained."""
    supernet, optimizer = parts()
    points = supernet.space.samples(5, seed=1)
    trained = []
    supernet.model.register_forward_hook(lambda *_: trained.append(supernet.active_point))
    trainer(supernet, optimizer, [])(points)
    assert trained == points * 2
    before = {n: p.detach().clone() for n, p in supernet.named_parameters()}
    only = [supernet.space.point({"0.op": "conv_1x1", "2.op": "conv_1x1"})]
    trainer(supernet, optimizer, [])(only)
    moved = {n for n, p in supernet.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if n.split(".candidates.")[1].startswith("1.")}


def test_a_study_trains_on_its_own_trials_and_scores_them_after():
    supernet, optimizer = parts()
    seen = []
    evaluator = mn.evaluate.SharedWeights(supernet, score, batch_norm="none")
    interleaved = mn.evaluate.Interleaved(trainer(supernet, optimizer, seen), evaluator)
    study = mn.Study(
        supernet.space, mn.search.Nsga2(population=4), objectives={"accuracy": "max", "macs": "min"}, seed=0
    )
    study.optimize(interleaved, trials=12, progress=False)
    assert [point for points in seen for point in points] == [trial.point for trial in study.trials]
    last = study.trials[-1]
    assert last.values["accuracy"] == pytest.approx(score(mn.derive(supernet, last.point).eval()))
    assert last.values["accuracy"] > min(trial.values["accuracy"] for trial in study.trials[:2])


def test_errors_say_what_is_wrong():
    with pytest.raises(mn.EvaluationError, match=r"train is a int; expected a function train\(points\)"):
        mn.evaluate.Interleaved(1, mn.evaluate.Function(lambda point: 0))
    with pytest.raises(mn.EvaluationError, match="Interleaved is given a int to score with; expected an evaluator"):
        mn.evaluate.Interleaved(lambda points: None, 1)
    with pytest.raises(mn.SpaceError, match="Population is given no points"):
        mn.train.Population([])
