"""Reading pictures, and the augmentation."""

import pickle

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


def test_a_folder_of_pictures(tmp_path):
    pytest.importorskip("torchvision")
    from PIL import Image

    for name in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / name / label).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (40, 30), (i, 0, 0)).save(tmp_path / name / label / f"{i}.png")
    train, valid, classes = image.folder_loaders(tmp_path, image_size=16, batch_size=2, workers=0)
    x, _ = next(iter(valid))
    assert x.shape == (2, 3, 16, 16)
    assert classes == ["cat", "dog"]
    assert len(train) == 2
    with pytest.raises(mn.ModularNASError, match=r"has no folder 'train'"):
        image.folder_loaders(tmp_path / "train")


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
