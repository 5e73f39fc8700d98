"""A training script becomes a search by two lines: a plain loop, Lightning, Hugging Face's Trainer, accelerate, torchrun."""

import difflib
import pathlib
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

import modularnas as mn

SCRIPT = pathlib.Path(__file__).parent / "scripts" / "train.py"

#: After which line, and what is put there: the whole change.
LINES = {
    "    model = make_model(num_classes=10)\n": (
        '    import modularnas as mn; model = mn.searchable(model, example=torch.zeros(1, 3, 32, 32))\n'
    ),
    '            torch.save(checkpoint, os.path.join(args.output_dir, "checkpoint.pth"))\n': (
        "    model_without_ddp = mn.conclude(model, lambda net: evaluate(net, criterion, data_loader_test, device), trials=6)\n"
    ),
}  # fmt: skip


def changed(folder):
    text = SCRIPT.read_text()
    for after, line in LINES.items():
        assert text.count(after) == 1
        text = text.replace(after, after + line)
    diff = [line for line in difflib.ndiff(SCRIPT.read_text().splitlines(), text.splitlines()) if line[0] in "+-"]
    assert len(diff) == 2
    script = folder / "train.py"
    script.write_text(text)
    return script


def run(command, folder):
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_reference_style_script_becomes_a_search_by_two_lines(data, tmp_path):
    arguments = ["--data-path", str(data / "cifar10_small.npz"), "--limit", "128", "--epochs", "1"]
    printed = run([sys.executable, str(changed(tmp_path)), *arguments], tmp_path)
    assert "with width(0.5, 0.75, 1.0): it opens 3 decisions" in printed
    assert "Final acc1" in printed
    net = mn.load_export(tmp_path / "best" / "network")
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert {type(module).__module__.split(".")[0] for module in net.modules()}.isdisjoint({"modularnas"})


@pytest.mark.slow
def test_the_same_script_under_torchrun_finds_one_network(data, tmp_path):
    script = changed(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        f"--master_port={port}",
        str(script),
    ]
    printed = run(
        [*command, "--data-path", str(data / "cifar10_small.npz"), "--limit", "64", "--epochs", "1"], tmp_path
    )
    finals = [line for line in printed.splitlines() if line.startswith("Final acc1")]
    assert len(finals) == 2
    assert len(set(finals)) == 1
    assert printed.count("exported to") == 1


def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )  # fmt: skip


X, Y = torch.randn(32, 3, 8, 8), torch.arange(32) % 4


def accuracy(net):
    with torch.no_grad():
        return (net(X).argmax(1) == Y).float().mean().item()


def concluded(supernet, out=None):
    assert len({str(supernet.space.sample(seed=i)) for i in range(20)}) > 1
    assert supernet._step > 0  # paths were drawn while the framework trained
    net = mn.conclude(supernet, accuracy, trials=4, out=out)
    assert isinstance(net, nn.Sequential)
    assert net(X).shape == (32, 4)
    return net


def test_a_plain_loop(tmp_path, capsys):
    model = mn.searchable(small(), example=X[:1])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
    net = concluded(model, tmp_path)
    torch.testing.assert_close(mn.load_export(tmp_path / "network")(X), net(X))
    printed = capsys.readouterr().out
    assert "without depth(): " in printed
    assert "batch norms: recalibrate" in printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning():
    lightning = pytest.importorskip("lightning")

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = small()

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module = Classifier()
    module.net = mn.searchable(module.net, example=X[:1])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=8)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)
    concluded(module.net)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_accelerate():
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = mn.searchable(small(), example=X[:1])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=8)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for x, y in loader:
        optimizer.zero_grad()
        accelerator.backward(nn.functional.cross_entropy(model(x), y))
        optimizer.step()
    concluded(accelerator.unwrap_model(model))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_hugging_face_trainer(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class WithLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small()

        def forward(self, pixel_values, labels=None):
            logits = self.net(pixel_values)
            loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
            return {"loss": loss, "logits": logits} if loss is not None else {"logits": logits}

    model = WithLoss()
    model = mn.searchable(model, example={"pixel_values": X[:1]})
    rows = [{"pixel_values": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=4, per_device_train_batch_size=8, report_to=[], use_cpu=True,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    transformers.Trainer(model=model, args=arguments, train_dataset=rows).train()
    assert model._step >= 4
    net = mn.conclude(
        model, lambda net: accuracy(lambda x: net(pixel_values=x)["logits"]), trials=4, out=tmp_path / "b"
    )
    assert net(pixel_values=X)["logits"].shape == (32, 4)


def test_wrong_use(tmp_path):
    with pytest.raises(mn.NetworkError, match="conclude is given a Sequential; expected what mn.searchable returned"):
        mn.conclude(small(), accuracy)
    with pytest.raises(mn.RuleError, match="nothing in the model can vary:\nwithout kernel_size"):
        mn.searchable(nn.Sequential(nn.ReLU()), example=X[:1])
    model = mn.searchable(small(), example=X[:1], say=lambda line: None)
    with pytest.raises(mn.SpaceError, match="macs"):
        mn.conclude(model, accuracy, limits={"macs": 1}, trials=4, out=tmp_path)
