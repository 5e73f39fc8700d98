"""Callbacks of trainers: Lightning and Hugging Face."""

import logging
import warnings

import pytest
import torch
from torch import nn

import modularnas as mn

X, Y = torch.randn(24, 3, 8, 8), torch.randint(0, 5, (24,))


def rewritten():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    return mn.rewrite(net, [mn.rules.kernel_size(3, 5, 7), mn.rules.width(0.5, 0.75, 1.0)], example=X[:2])


def expected(n, policy="uniform", **settings):
    """The paths of n forwards in a plain loop."""
    supernet = rewritten().train().sampling(policy, seed=7, **settings)
    points = []
    for _ in range(n):
        supernet(X[:2])
        points.append(supernet.active_point)
    return points


def recorded(supernet):
    points = []
    supernet.model.register_forward_hook(lambda *_: points.append((supernet.training, supernet.active_point)))
    return points


@pytest.fixture
def quiet():
    """Trainers warn about the machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield


@pytest.mark.usefixtures("quiet")
class TestLightning:
    def module(self, supernet):
        lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")

        class Plain(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = supernet

            def training_step(self, batch, index):
                return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

            def validation_step(self, batch, index):
                self.net(batch[0])

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 0.1)

        return Plain()

    def fit(self, module, callbacks, folder, checkpoint=None, **settings):
        from lightning.pytorch import Trainer

        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=4)
        trainer = Trainer(
            accelerator="cpu",
            callbacks=callbacks,
            default_root_dir=folder,
            logger=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            **settings,
        )
        trainer.fit(module, data, data if settings.pop("limit_val_batches", 1) else None, ckpt_path=checkpoint)
        return trainer

    def test_every_training_step_takes_the_next_path(self, tmp_path):
        supernet = rewritten()
        module = self.module(supernet)
        points = recorded(supernet)
        largest = supernet.space.extremes("macs")[1]
        callback = mn.train.lightning.callback("uniform", seed=7, evaluate=largest)
        before = [p.clone() for p in supernet.parameters()]
        self.fit(module, [callback], tmp_path, max_epochs=2, limit_val_batches=2)
        assert [point for training, point in points if training] == expected(12)
        assert {point for training, point in points if not training} == {largest}
        assert all(not torch.equal(a, b) for a, b in zip(before, supernet.parameters(), strict=True))
        assert supernet._policy is None

    def test_a_resumed_run_goes_on(self, tmp_path):
        supernet = rewritten()
        trainer = self.fit(self.module(supernet), [mn.train.lightning.callback(seed=7)], tmp_path, max_epochs=1)
        trainer.save_checkpoint(tmp_path / "run.ckpt", weights_only=False)
        resumed = rewritten()
        points = recorded(resumed)
        callback = mn.train.lightning.callback(seed=7)
        self.fit(self.module(resumed), [callback], tmp_path, tmp_path / "run.ckpt", max_epochs=2)
        assert [point for training, point in points if training] == expected(12)[6:]

    def test_several_paths_a_step_by_manual_optimization(self, tmp_path):
        supernet = rewritten()
        module = self.module(supernet)
        module.automatic_optimization = False
        strategy = mn.train.Sandwich(n_random=1)

        def training_step(batch, batch_idx):
            optimizer = module.optimizers()
            optimizer.zero_grad()
            strategy.step(
                module.net,
                lambda net, b: nn.functional.cross_entropy(net(b[0]), b[1]),
                batch,
                backward=module.manual_backward,
            )
            optimizer.step()

        module.training_step = training_step
        points = recorded(supernet)
        self.fit(module, [], tmp_path, max_epochs=1)
        assert sum(training for training, _ in points) == 18


@pytest.mark.usefixtures("quiet")
class TestHuggingFace:
    def train(self, supernet, folder, **settings):
        transformers = pytest.importorskip("transformers", reason="transformers is not installed")
        pytest.importorskip("accelerate", reason="accelerate is not installed")

        class Wrapped(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = supernet

            def forward(self, pixels, labels):
                logits = self.net(pixels)
                return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

        data = [{"pixels": x, "labels": y} for x, y in zip(X, Y, strict=True)]
        arguments = transformers.TrainingArguments(
            str(folder),
            per_device_train_batch_size=4,
            per_device_eval_batch_size=12,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            num_train_epochs=2,
            seed=0,
            **settings,
        )
        largest = supernet.space.extremes("macs")[1]
        trainer = transformers.Trainer(
            Wrapped(),
            arguments,
            train_dataset=data,
            eval_dataset=data,
            callbacks=[mn.train.hugging_face.callback("fair", seed=7, evaluate=largest)],
        )
        trainer.train()
        return trainer

    def test_every_forward_takes_the_next_path(self, tmp_path):
        supernet = rewritten()
        points = recorded(supernet)
        self.train(supernet, tmp_path, eval_strategy="epoch", gradient_accumulation_steps=3)
        assert [point for training, point in points if training] == expected(12, "fair")
        assert {point for training, point in points if not training} == {supernet.space.extremes("macs")[1]}
        assert supernet._policy is None


def test_a_model_without_a_supernet():
    from modularnas.train.turns import Turns

    with pytest.raises(mn.SpaceError, match="the Linear that is trained holds no supernet"):
        Turns("uniform", 0, None, {}).begin(nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["lightning", "hugging_face"])
def test_the_extra_is_named_when_it_is_missing(name, monkeypatch):
    import sys

    for module in ("lightning.pytorch", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(mn.MissingExtraError, match=r"is not installed: pip install \"modularnas\["):
        getattr(mn.train, name).callback()
