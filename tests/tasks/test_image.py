"""Reading pictures, and the augmentation."""

import pickle
import sys

import numpy as np
import pytest
import torch

import modularnas as mn
from modularnas.tasks import image


def write_cifar(folder, fine=False):
    """A tiny archive in the official form."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def batch(n, key):
        return {b"data": rng.integers(0, 255, (n, 3072), dtype=np.uint8), key: list(range(n))}

    if fine:
        files = {"train": batch(8, b"fine_labels"), "test": batch(4, b"fine_labels")}
        files["meta"] = {b"fine_label_names": [b"apple", b"bee"]}
    else:
        files = {f"data_batch_{i}": batch(2, b"labels") for i in range(1, 6)} | {"test_batch": batch(4, b"labels")}
        files["batches.meta"] = {b"label_names": [b"plane", b"car"]}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(("name", "fine", "n"), [("cifar-10-batches-py", False, 10), ("cifar-100-python", True, 8)])
def test_official_batches_and_where_torchvision_puts_them(name, fine, n, tmp_path):
    write_cifar(tmp_path / name, fine)
    for path in (tmp_path, tmp_path / name):
        pictures = image.read(path)
        assert pictures.train[0].shape == (n, 3, 32, 32)
        assert pictures.train[0].dtype == torch.uint8
        assert pictures.test[1].tolist() == [0, 1, 2, 3]
        assert pictures.classes[0] in ("plane", "apple")


def test_pictures_of_the_research_data(data):
    pictures = image.read(data / "cifar10_small.npz")
    assert pictures.train[0].shape == (10_000, 3, 32, 32)
    # The published mean of CIFAR-10.
    mean = pictures.train[0].float().mean((0, 2, 3)) / 255
    torch.testing.assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.01, rtol=0)
    assert list(pictures.classes)[:2] == ["airplane", "automobile"]


def test_wrong_files_are_one_error(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"no archive")
    for path in (tmp_path, tmp_path / "x.npz", tmp_path / "missing.npz"):
        with pytest.raises(mn.ModularNASError, match=r"holds no CIFAR: .*expected the folder cifar-10-batches-py"):
            mn.tasks.run("image", data=path, out=tmp_path / "out")


class _Code:
    def __reduce__(self):
        return (sys.exit, (3,))


def test_official_batches_cannot_run_code(tmp_path):
    write_cifar(tmp_path / "c")
    (tmp_path / "c" / "test_batch").write_bytes(pickle.dumps({b"data": _Code()}))
    with pytest.raises(mn.ModularNASError, match=r"holds no CIFAR: it contains sys\.exit"):
        image.read(tmp_path / "c")
    (tmp_path / "c" / "test_batch").write_bytes(b"")
    with pytest.raises(mn.ModularNASError, match=r"holds no CIFAR"):
        image.read(tmp_path / "c")


@pytest.mark.parametrize(("x", "y"), [((9, 3, 8, 8), 8), ((9, 8, 8), 9)])
def test_pictures_and_labels_belong_together(x, y, tmp_path):
    arrays = {f"{part}_x": np.zeros(x, np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "x.npz", train_y=np.zeros(y, int), test_y=np.zeros(y, int), **arrays)
    with pytest.raises(mn.ModularNASError, match=rf"pictures are uint8 .*, labels {y}; expected uint8"):
        image.read(tmp_path / "x.npz")


@pytest.mark.parametrize("setting", [{"image_size": "big"}, {"n_train": 0}, {"batch_size": 1.5}, {"n_valid": 0}])
def test_sizes_are_whole_numbers(setting, data, tmp_path):
    (name, value), *_ = setting.items()
    with pytest.raises(mn.ModularNASError, match=rf"{name} is {value!r}; expected a whole number from 1 on"):
        mn.tasks.run("image", data=data / "cifar10_small.npz", out=tmp_path, **setting)


def test_crops_and_flips_only_move_pixels():
    x = torch.arange(2 * 64.0).reshape(2, 1, 8, 8) + 1
    generator = torch.Generator().manual_seed(0)
    moved = torch.cat([image.crop_and_flip(x, generator, 2) for _ in range(50)])
    assert set(moved.unique().tolist()) <= {0.0, *x.unique().tolist()}
    rows = moved[::2, 0]
    inner = [row[row > 0] for picture in rows for row in picture]
    steps = {float(step) for row in inner for step in row.diff()}
    assert steps == {1.0, -1.0}  # never torn, mirrored at times
    assert (image.crop_and_flip(x, torch.Generator().manual_seed(1), 0) > 0).all()


def test_cutout_cuts_a_square():
    x = torch.ones(200, 3, 16, 16)
    cut = (image.cutout(x, torch.Generator().manual_seed(0), 6) == 0).sum((1, 2, 3)) / 3
    assert cut.max() == 36
    assert cut.min() >= 9  # at a corner a quarter of it is left


def test_mixed_labels_are_shares():
    x, y = image.mixup(1.0, 3)(torch.randn(4, 2), torch.tensor([0, 1, 2, 0]))
    assert x.shape == (4, 2)
    torch.testing.assert_close(y.sum(1), torch.ones(4))


@pytest.fixture
def folder(tmp_path):
    """Eight pictures to train on and four to test, each of a colour of its own."""
    pytest.importorskip("torchvision")
    from PIL import Image

    for name, n in (("train", 4), ("val", 2)):
        for label in ("cat", "dog"):
            (tmp_path / name / label).mkdir(parents=True)
            for i in range(n):
                color = (20 * i, 100 * (label == "dog"), 200 * (name == "val"))
                Image.new("RGB", (40, 30), color).save(tmp_path / name / label / f"{i}.png")
    return tmp_path


def colors(loader):
    return {tuple(pixel.tolist()) for x, _ in loader for pixel in x.amax((2, 3)).round(decimals=3)}


def test_a_folder_of_pictures(folder):
    (train, valid, test), classes = image.folder_loaders(folder, image_size=16, batch_size=2, workers=0, n_valid=2)
    x, _ = next(iter(train))
    assert x.shape == (2, 3, 16, 16)
    assert classes == ["cat", "dog"]
    assert [len(loader.dataset) for loader in (train, valid, test)] == [6, 2, 4]
    assert not colors(train) & colors(valid)  # neither searched on what is trained on
    assert not colors(valid) & colors(test)  # nor tested on what is searched on
    (_, valid, test), _ = image.folder_loaders(folder, image_size=16, workers=0)
    assert colors(valid) == colors(test)
    with pytest.raises(mn.ModularNASError, match=r"has no folder 'train'"):
        image.folder_loaders(folder / "train")
    with pytest.raises(mn.ModularNASError, match=r"n_valid is 8, but there are 8 training pictures"):
        image.folder_loaders(folder, n_valid=8)
    (folder / "val" / "cow").mkdir()
    (folder / "val" / "dog" / "0.png").rename(folder / "val" / "cow" / "0.png")
    with pytest.raises(mn.ModularNASError, match=r"the classes of train and val differ"):
        image.folder_loaders(folder)


def test_processes_share_a_folder(folder):
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")  # a group that waits for nobody
    torch.distributed.init_process_group("fake", store=fake.FakeStore(), rank=1, world_size=2)
    try:
        (train, _, test), _ = image.folder_loaders(folder, image_size=16, batch_size=2, workers=0, n_valid=2)
        assert len(train.sampler) == 3
        assert len(test.sampler) == 2
        first = list(train.sampler)
        train.sampler.set_epoch(1)
        assert first != list(train.sampler) or set(first) != set(range(6))
    finally:
        torch.distributed.destroy_process_group()


def test_a_folder_trains_with_every_augmentation(folder):
    settings = {"image_size": 32, "batch_size": 4, "n_valid": 2, "workers": 0, "cut": 8, "auto_augment": True}
    task, _ = image.create(folder, smoke=True, mix=0.2, smoothing=0.1, **settings)
    x, _ = next(iter(task.train))
    assert (x == 0).all(1).any()  # what is cut out is the mean
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    done = mn.train.fit(
        net, task.train, task.valid, epochs=1, loss=task.loss, optimizer=task.optimizer, progress=False, **task.fit
    )
    assert len(done.history) == 1


def test_a_missing_extra_is_said_before_anything_starts(folder, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(mn.MissingExtraError, match=r'a folder of pictures needs torchvision: pip install "modularnas'):
        mn.tasks.run("image", data=folder, out=folder / "out")
    with pytest.raises(mn.MissingExtraError, match=r"AutoAugment needs torchvision"):
        mn.tasks.run("image", data=data / "cifar10_small.npz", out=folder / "out", auto_augment=True)


def test_the_policy_of_auto_augment(data):
    pytest.importorskip("torchvision")
    task, _ = image.create(data / "cifar10_small.npz", smoke=True, auto_augment=True, cut=8, image_size=16)
    x, _ = next(iter(task.train))
    assert x.shape[1:] == (3, 16, 16)
    assert torch.isfinite(x).all()


def test_batches_are_a_function_of_seed_and_epoch():
    batches = mn.tasks.Batches(torch.arange(10), torch.arange(10), size=4, shuffle=True, seed=1)
    first = [x.tolist() for x, _ in batches]
    assert first == [x.tolist() for x, _ in batches]
    assert sorted(row for batch in first for row in batch) == list(range(10))
    batches.set_epoch(1)
    assert first != [x.tolist() for x, _ in batches]
    assert [len(x) for x, _ in mn.tasks.Batches(torch.arange(9), torch.arange(9), size=4, shuffle=True)] == [4, 4]
