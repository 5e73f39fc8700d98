"""Tasks from beginning to end, in the smallest size."""

import json
import pathlib
import re

import pytest
import torch

import modularnas as mn

FILES = {"image": "cifar10_small.npz", "voice": "fsdd_8k.npz", "recommendation": "ctr_small.npz"}


@pytest.mark.slow
@pytest.mark.parametrize("task", FILES)
def test_a_task_runs_and_gives_a_card_and_a_network(task, data, tmp_path):
    result = mn.tasks.run(task, data=data / FILES[task], out=tmp_path, smoke=True, seed=3)
    assert set(result.table) == {"baseline", "random", "random_search", "searched"}
    card = json.loads((tmp_path / "result.json").read_text())
    assert card["seed"] == 3
    assert card["table"] == result.table
    assert "| searched |" in (tmp_path / "card.md").read_text()
    assert mn.load_export(tmp_path / "best") is not None


@pytest.mark.slow
def test_the_same_seed_is_the_same_run(data, tmp_path):
    settings = {"data": data / "ctr_small.npz", "smoke": True, "table": "criteo"}
    first, second = (mn.tasks.run("recommendation", out=tmp_path / name, **settings) for name in "ab")
    assert first.point == second.point
    for name, row in first.table.items():
        assert row["auc"] == second.table[name]["auc"]


def test_names_and_unknown_tasks(tmp_path):
    assert mn.tasks.names() == ["image", "recommendation", "voice"]
    with pytest.raises(mn.ModularNASError, match=r"there is no task 'music'; there are image, recommendation, voice"):
        mn.tasks.run("music", data=tmp_path, out=tmp_path)
    with pytest.raises(mn.ModularNASError, match=r"the task 'voice' is given no data="):
        mn.tasks.run("voice", out=tmp_path)


def test_a_plan_is_changed_by_name(data, tmp_path):
    plan = mn.tasks.Plan(epochs=3).changed({"trials": 7})
    assert (plan.epochs, plan.trials) == (3, 7)
    settings = {"data": data / "ctr_small.npz", "out": tmp_path, "smoke": True}
    for wrong in ({"epoch": 3}, {"epochs": 0}, {"trials": "many"}):
        with pytest.raises(mn.ModularNASError, match=r"a plan is given .*; expected epochs, supernet_epochs, trials"):
            mn.tasks.run("recommendation", plan=wrong, **settings)


@pytest.mark.parametrize("search", ["kernel", "op", "block"])
def test_the_unsearched_network_is_the_published_one(search, data):
    settings = {"space": "resnet", "depth": 20, "search": search, "image_size": 16, "smoke": True}
    task, _ = mn.tasks.image.create(data / "cifar10_small.npz", **settings)
    supernet, _ = mn.spaces.create(task.space[0], **task.space[1])
    net = mn.derive(supernet, task.unsearched(supernet))
    kernels = {m.kernel_size for name, m in net.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert kernels == {(3, 3), (1, 1)}


def test_the_task_of_the_page_runs(tmp_path, monkeypatch):
    page = (pathlib.Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "tasks.md", "exec"), names)
    assert set(names["result"].table) == {"baseline", "random", "random_search", "searched"}
    assert mn.load_export("runs/sign/best")(names["x"][:1]).shape == (1, 2)


def test_tensors_instead_of_files(data):
    pictures = mn.tasks.image.Pictures(
        (torch.randint(0, 255, (20, 3, 16, 16), dtype=torch.uint8), torch.arange(20) % 2),
        (torch.randint(0, 255, (6, 3, 16, 16), dtype=torch.uint8), torch.arange(6) % 2),
        ["left", "right"],
    )
    task, _ = mn.tasks.image.create(pictures, n_valid=4, batch_size=8)
    assert [len(part.targets) for part in (task.train, task.valid, task.test)] == [16, 4, 6]
    assert task.space[1] == {"num_classes": 2, "image_size": 16}
    recordings = mn.tasks.voice.read(data / "fsdd_8k.npz")
    assert len(mn.tasks.voice.create(recordings, n_mels=8, hop=1000)[0].test.targets) == 300
    clicks = mn.tasks.recommendation.read(data / "ctr_small.npz", "adult")
    assert len(mn.tasks.recommendation.create(clicks)[0].test.targets) == 16_281


def test_a_registered_task_is_one_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(mn.tasks.recipe, "_TASKS", dict(mn.tasks.recipe._TASKS))

    @mn.tasks.register("echo")
    def create(data, smoke=False, seed=0):
        raise mn.ModularNASError(f"{data}, {smoke}, {seed}")

    assert "echo" in mn.tasks.names()
    with pytest.raises(mn.ModularNASError, match="file, True, 4"):
        mn.tasks.run("echo", data="file", out=tmp_path, smoke=True, seed=4)


def test_a_space_without_an_unsearched_network_says_so(data, tmp_path):
    with pytest.raises(
        mn.ModularNASError, match=r"the space 'nasbench201' has no network .* give the task a baseline="
    ):
        mn.tasks.run("image", data=data / "cifar10_small.npz", out=tmp_path, smoke=True, space="nasbench201")
    task, _ = mn.tasks.image.create(
        data / "cifar10_small.npz", smoke=True, space="nasbench201", baseline="nor_conv_3x3", channels=4, cells=1
    )
    supernet, _ = mn.spaces.create(task.space[0], **task.space[1])
    assert set(dict(task.unsearched(supernet)).values()) == {"nor_conv_3x3"}
