"""The training loop: it learns, resumes exactly, stops early, keeps the best, and knows nothing of searches."""

import copy
import sys

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.train import fit, measure


def accuracy(outputs, targets):
    return (outputs.argmax(1) == targets).float().mean()


def data(n=64):
    x = torch.randn(n, 4)
    y = (x.sum(1) > 0).long()
    return [(x[i : i + 16], y[i : i + 16]) for i in range(0, n, 16)]


def net():
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


def same(a, b):
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns():
    batches = data(256)
    done = fit(
        net(), batches, batches, epochs=8, metrics={"accuracy": accuracy}, best=("accuracy", "max"), progress=False
    )
    assert done.best["accuracy"] > 0.9
    assert len(done.history) == 8
    assert done.seconds == pytest.approx(sum(record["seconds"] for record in done.history))


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"amp": torch.bfloat16, "clip_norm": 1.0}])
def test_a_cut_run_goes_on_as_if_it_was_not(settings, tmp_path):
    batches = data()
    start = net()
    whole = fit(copy.deepcopy(start), batches, batches, epochs=4, progress=False, **settings)

    class Cut(list):
        """A loader that breaks in the third epoch."""

        n = 0

        def __iter__(self):
            self.n += 1
            if self.n > 2:
                raise KeyboardInterrupt
            return super().__iter__()

    file = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(copy.deepcopy(start), Cut(batches), batches, epochs=4, checkpoint=file, progress=False, **settings)
    resumed = fit(copy.deepcopy(start), batches, batches, epochs=4, checkpoint=file, progress=False, **settings)
    same(resumed.net, whole.net)
    assert [r["loss"] for r in resumed.history] == [r["loss"] for r in whole.history]
    again = fit(copy.deepcopy(start), batches, batches, epochs=4, checkpoint=file, progress=False, **settings)
    same(again.net, whole.net)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    batches, file = data(), tmp_path / "run.pt"
    fit(net(), batches, epochs=2, checkpoint=file, progress=False)
    with pytest.raises(mn.StorageError, match=r"is of 2 epochs, not 3"):
        fit(net(), batches, epochs=3, checkpoint=file, progress=False)
    with pytest.raises(mn.StorageError, match=r"is no checkpoint of this training"):
        fit(nn.Linear(4, 2), batches, epochs=2, checkpoint=file, progress=False)


def test_the_best_weights_are_kept_and_it_stops():
    batches = data()
    worse = iter(range(100))
    done = fit(
        net(), batches, batches, epochs=20, patience=2, progress=False,
        metrics={"worse": lambda outputs, targets: next(worse)}, best=("worse", "min"),
    )  # fmt: skip
    assert done.best_epoch == 0
    assert len(done.history) == 3


def test_averaged_weights_are_what_is_validated():
    batches = data()
    done = fit(net(), batches, batches, epochs=2, ema=0.99, progress=False)
    value = measure(done.net, batches, {"loss": nn.functional.cross_entropy})["loss"]
    assert value == pytest.approx(done.best["loss"], rel=1e-5)


def test_scaled_gradients_are_clipped_and_soft_labels_learnt():
    batches = data()
    mix = mn.tasks.image.mixup(0.3, 2)
    done = fit(net(), batches, batches, epochs=2, transform=mix, clip_norm=1e-9, progress=False)
    assert done.history[1]["loss"] == pytest.approx(done.history[0]["loss"], abs=0.2)


@pytest.mark.slow  # importing it takes seconds
def test_metrics_of_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics")
    batches = data()
    metrics = {"theirs": torchmetrics.Accuracy(task="multiclass", num_classes=2), "mine": accuracy}
    found = measure(net(), batches, metrics)
    assert found["theirs"] == pytest.approx(found["mine"])


def test_supernets_train_by_sampling_or_by_a_strategy():
    given = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    x = torch.randn(8, 1, 4, 4)
    supernet = mn.rewrite(given, [mn.rules.kernel_size(3, 5)], example=x)
    batches = [(x, torch.arange(8) % 2)]
    fit(supernet.sampling("uniform", seed=0), batches, epochs=2, progress=False)

    class Largest:
        """A strategy that trains the largest network."""

        def step(self, supernet, loss_fn, batch, backward=None):
            supernet.activate({"0.kernel_size": 5})
            loss = loss_fn(supernet, batch)
            backward(loss)
            return loss

    supernet.sampling(None)
    fit(supernet, batches, epochs=2, strategy=Largest(), progress=False)
    assert supernet.active_point == supernet.space.point({"0.kernel_size": 5})


def test_a_line_shows_the_time_left(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    fit(nn.Linear(4, 2), data(), data(), epochs=2)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("epoch 1/2, loss ")
    assert second.startswith("epoch 2/2, loss ")
    assert second.endswith(", 0 s left")


def test_errors_say_what_is_wrong():
    batches = data()
    with pytest.raises(mn.EvaluationError, match=r"epochs=0; expected 1 or more"):
        fit(net(), batches, epochs=0)
    with pytest.raises(mn.EvaluationError, match=r"there are no batches to train on"):
        fit(net(), [], epochs=1)
    with pytest.raises(mn.EvaluationError, match=r"best=\('auc', 'max'\); expected one of loss"):
        fit(net(), batches, batches, epochs=1, best=("auc", "max"))
    with pytest.raises(mn.EvaluationError, match=r"the loss is nan in epoch 0, batch 0"):
        fit(net(), batches, epochs=1, loss=lambda outputs, targets: outputs.sum() * float("nan"), progress=False)
