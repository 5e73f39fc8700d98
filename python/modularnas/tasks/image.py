"""Image classification: MobileNetV2 or another ready space on CIFAR or a folder of pictures (the paper's table 3).

Reads CIFAR-10 and -100 as the official Python batches (also where torchvision put them), a `.npz`, and any folder with
`train` and `val` of one folder a class (ImageNet). Augmentation is the usual one: crops of the padded picture, flips,
and by choice cutout (DeVries and Taylor 2017, arXiv 1708.04552), AutoAugment (arXiv 1805.09501, torchvision's), mixup
(arXiv 1710.09412) and label smoothing (arXiv 1512.00567).
"""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas._core import SearchSpace
from modularnas.errors import MissingExtraError, ModularNASError
from modularnas.spaces import darts
from modularnas.tasks.recipe import Batches, Plan, Task, adamw, one_cycle, part, register, whole

__all__ = ["ArraysOnly", "Pictures", "accuracy", "create", "crop_and_flip", "cutout", "folder_loaders", "mixup", "read"]


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures: uint8 `(N, C, H, W)` and int64 `(N,)`, to train and to test, and the names of the classes."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: Sequence[str]


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The share that is right: logits `(N, classes)`, labels `(N,)`."""
    return float((outputs.argmax(1) == targets).float().mean())


def read(path: str | Path) -> Pictures:
    """CIFAR-10 or CIFAR-100.

    Args:
        path: the folder `cifar-10-batches-py` or `cifar-100-python`, a folder that holds one of them, or a `.npz` with
            `train_x`, `train_y`, `test_x`, `test_y` (uint8 `(N, 3, H, W)`; or `train_d`, `test_d`, where pixels are
            stored as differences).

    Raises:
        ModularNASError: if it is none of these, saying what was expected.
    """
    path = Path(path)
    try:
        return _read_npz(path) if path.suffix == ".npz" else _read_batches(path)
    except (OSError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise ModularNASError(
            f"'{path}' holds no CIFAR: {error}; expected the folder cifar-10-batches-py or cifar-100-python, or a .npz "
            "with train_x, train_y, test_x, test_y"
        ) from error


def _read_npz(path: Path) -> Pictures:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("train", "test"):
        if f"{name}_x" not in arrays:
            arrays[f"{name}_x"] = _undelta(arrays[f"{name}_d"])
    n = int(arrays["train_y"].max()) + 1
    classes = [str(name) for name in arrays.get("classes", np.arange(n))]
    train, test = (_pair(arrays[f"{name}_x"], arrays[f"{name}_y"]) for name in ("train", "test"))
    return Pictures(train, test, classes)


def _undelta(differences: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels from differences along both axes and between the colours, modulo 256."""
    x = np.cumsum(np.cumsum(differences, 2, dtype=np.uint8), 3, dtype=np.uint8)
    x[:, 0] += x[:, 1]
    x[:, 2] += x[:, 1]
    return x


def _read_batches(path: Path) -> Pictures:
    ten = [f"data_batch_{i}" for i in range(1, 6)]
    found: tuple[Path, list[str], str, bytes] | None = None
    for folder in (path, path / "cifar-10-batches-py", path / "cifar-100-python"):
        if (folder / "data_batch_1").is_file():
            found = (folder, ten, "test_batch", b"labels")
        elif (folder / "train").is_file() and (folder / "meta").is_file():
            found = (folder, ["train"], "test", b"fine_labels")
    if found is None:
        raise FileNotFoundError("there is neither data_batch_1 nor train and meta")
    folder, train, test, key = found
    x, y = zip(*(_batch(folder / name, key) for name in train), strict=True)
    meta = _unpickled(folder / ("meta" if key == b"fine_labels" else "batches.meta"))
    classes = meta[b"fine_label_names" if key == b"fine_labels" else b"label_names"]
    pair = _pair(np.concatenate(x), np.concatenate(y))
    return Pictures(pair, _pair(*_batch(folder / test, key)), [name.decode() for name in classes])


class ArraysOnly(pickle.Unpickler):
    """The official files are pickles: nothing but NumPy arrays is let in."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle names; refused unless it is an array's."""
        arrays = module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype")
        # Bytes as protocol 2 writes them.
        if arrays or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it contains {module}.{name}")


def _unpickled(path: Path) -> dict[bytes, Any]:
    with path.open("rb") as file:
        content: dict[bytes, Any] = ArraysOnly(file, encoding="bytes").load()
    return content


def _batch(path: Path, key: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    batch = _unpickled(path)
    return batch[b"data"].reshape(-1, 3, 32, 32), np.asarray(batch[key])


def _pair(x: NDArray[Any], y: NDArray[Any]) -> tuple[Tensor, Tensor]:
    if x.ndim != 4 or x.dtype != np.uint8 or len(x) != len(y):
        raise ValueError(
            f"pictures are {x.dtype} {x.shape}, labels {len(y)}; expected uint8 (N, 3, H, W), and N labels"
        )
    return torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.asarray(y)).long()


def crop_and_flip(x: Tensor, generator: torch.Generator, padding: int | None = None) -> Tensor:
    """Each picture `(N, C, H, W)` moved by up to `padding` pixels, zeros coming in, and mirrored half of the time.

    The usual padding is an eighth of the height: 4 of CIFAR's 32 pixels.
    """
    n, _, height, width = x.shape
    padding = height // 8 if padding is None else padding
    padded = nn.functional.pad(x, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, n, 1), generator=generator)
    rows = (top + torch.arange(height)).unsqueeze(2)  # (N, H, 1)
    columns = left + torch.arange(width)  # (N, W)
    flipped = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.where(flipped, columns.flip(1), columns).unsqueeze(1)
    # In memory it stays (N, H, W, C), with which depthwise convolutions are faster.
    return padded[torch.arange(n)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)


def cutout(x: Tensor, generator: torch.Generator | None, size: int = 16) -> Tensor:
    """A square of each picture `(N, C, H, W)` is set to 0, its middle anywhere."""
    n, _, height, width = x.shape
    middle_y = torch.randint(0, height, (n, 1, 1, 1), generator=generator)
    middle_x = torch.randint(0, width, (n, 1, 1, 1), generator=generator)
    y, z = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    half = size // 2
    inside = (y >= middle_y - half) & (y < middle_y + half) & (z >= middle_x - half) & (z < middle_x + half)
    return x.masked_fill(inside, 0.0)


def mixup(alpha: float, num_classes: int) -> Callable[[Any, Tensor], tuple[Any, Tensor]]:
    """A `transform` of `mn.train.fit`: each batch is mixed with itself in another order, labels too (section 2)."""

    def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        order = torch.randperm(len(x), device=x.device)
        targets = nn.functional.one_hot(y, num_classes).float()
        return share * x + (1 - share) * x[order], share * targets + (1 - share) * targets[order]

    return mix


def _vision(what: str) -> Any:
    """torchvision, where it is installed."""
    try:
        import torchvision
    except ModuleNotFoundError as error:
        raise MissingExtraError(f'{what} needs torchvision: pip install "modularnas[vision]"') from error
    return torchvision


def _auto_augment() -> Callable[[Tensor], Tensor]:
    transforms = _vision("AutoAugment").transforms
    policy = transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)
    return lambda x: torch.stack([policy(picture) for picture in x])


def folder_loaders(
    path: str | Path,
    image_size: int = 224,
    batch_size: int = 256,
    workers: int = 8,
    *,
    n_train: int | None = None,
    n_valid: int = 0,
    seed: int = 0,
    cut: int | None = None,
    auto_augment: bool = False,
    distributed: bool | None = None,
) -> tuple[tuple[Any, Any, Any], list[str]]:
    """Loaders of a folder with `train` and `val`, one folder a class, in the usual ImageNet recipe.

    Args:
        path: the folder.
        image_size: in pixels.
        batch_size: of each process.
        workers: processes that read.
        n_train: how many pictures to train on; None: all but the validation's.
        n_valid: how many pictures of `train` are to search on; 0: those of `val` are, which then are no test any more.
        seed: of the split.
        cut: the size of cutout, in pixels; None: off.
        auto_augment: whether to use AutoAugment's policy for ImageNet.
        distributed: whether each process of `torch.distributed` sees its share; None: where that is initialised.

    Returns:
        Loaders to train, validate and test, and the names of the classes.

    Raises:
        ModularNASError: if the folder has no such parts, or too few pictures.
        MissingExtraError: without torchvision.
    """
    vision = _vision("a folder of pictures")
    transforms, read_folder = vision.transforms, vision.datasets.ImageFolder
    from torch.utils.data import DataLoader, DistributedSampler, Subset

    for name in ("train", "val"):
        if not (Path(path) / name).is_dir():
            raise ModularNASError(f"'{path}' has no folder '{name}'; expected train/CLASS/… and val/CLASS/…")
    last = [transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    whole = [transforms.Resize(image_size * 8 // 7), transforms.CenterCrop(image_size), *last]
    moved = [transforms.RandomResizedCrop(image_size), transforms.RandomHorizontalFlip()]
    if auto_augment:
        moved.append(transforms.AutoAugment(transforms.AutoAugmentPolicy.IMAGENET))
    moved += last
    if cut is not None:
        moved.append(functools.partial(_cut, size=cut))
    test = read_folder(str(Path(path) / "val"), transforms.Compose(whole))
    train = read_folder(str(Path(path) / "train"), transforms.Compose(moved))
    if train.classes != test.classes:
        raise ModularNASError(f"'{path}': the classes of train and val differ; expected the same folders in both")
    if n_valid >= len(train):
        raise ModularNASError(f"n_valid is {n_valid}, but there are {len(train)} training pictures; take fewer")
    still = copy.copy(train)  # the list of a million files is made once
    still.transform = test.transform
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
    parts = [Subset(train, order[n_valid:][:n_train]), Subset(still, order[:n_valid]) if n_valid else test, test]
    if distributed is None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    loaders = []
    for i, data in enumerate(parts):
        sampler: Any = DistributedSampler(data, shuffle=i == 0, seed=seed) if distributed else None
        loader = DataLoader(
            data,
            batch_size,
            shuffle=i == 0 and sampler is None,
            sampler=sampler,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            drop_last=i == 0 and len(data) >= batch_size,
        )
        loaders.append(loader)
    return (loaders[0], loaders[1], loaders[2]), list(train.classes)


def _cut(x: Tensor, size: int) -> Tensor:
    """`cutout` of one picture `(C, H, W)`, from the random numbers of the process that reads."""
    return cutout(x.unsqueeze(0), None, size)[0]


def _first(space: SearchSpace) -> Any:
    """The first choice of every decision."""
    return space.point({decision.name: decision.choices[0] for decision in space.decisions if decision.choices})


#: The unsearched network of the spaces that have no original one: MobileNetV2's block, plain blocks of kernel 3, the
#: published cell.
_UNSEARCHED: dict[str, Any] = {
    "mobilenet_v2": "mbconv_k3_e6",
    "proxylessnas": "mbconv_k3_e6",
    "resnet": _first,
    "resnext": _first,
    "darts": lambda space: darts.point(darts.DARTS_V2, space),
}


@register("image")
def create(
    data: str | Path | Pictures,
    *,
    smoke: bool = False,
    seed: int = 0,
    space: str = "mobilenet_v2",
    n_train: int | None = None,
    n_valid: int = 1000,
    batch_size: int = 128,
    image_size: int | None = None,
    cut: int | None = None,
    auto_augment: bool = False,
    mix: float | None = None,
    smoothing: float = 0.0,
    optimizer: Any = adamw,
    scheduler: Any = one_cycle,
    workers: int = 8,
    baseline: Any = None,
    **settings: Any,
) -> tuple[Task, Plan]:
    """The task.

    Args:
        data: as of `read`, or what it gives; or a folder as of `folder_loaders`.
        smoke: whether to use a few pictures and a narrow network.
        seed: of split and order.
        space: a ready space for pictures.
        n_train: how many pictures to train on; None: all but the validation's.
        n_valid: how many of the training pictures are to search on.
        batch_size: pictures of a batch.
        image_size: in pixels; None: as they are (folders: 224).
        cut: the size of cutout, in pixels; None: off.
        auto_augment: whether to use AutoAugment's policy, that for CIFAR-10 or that for ImageNet.
        mix: alpha of mixup; None: off.
        smoothing: of labels.
        optimizer: as of `mn.train.fit`; None: its SGD.
        scheduler: as of `mn.train.fit`; None: its cosine.
        workers: processes that read a folder.
        baseline: the unsearched network, as of `Task`; None: the published one of the space.
        **settings: of the space.
    """
    whole(n_train=n_train, batch_size=batch_size, image_size=image_size)
    if smoke:
        n_train, n_valid = min(n_train or 128, 128), min(n_valid, 64)
        settings = {**({"width": 0.25} if space == "mobilenet_v2" else {}), **settings}
    loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
    plan = Plan.smoke() if smoke else Plan()
    if not isinstance(data, Pictures) and (Path(data) / "val").is_dir():
        size = image_size or 224
        augmentation: dict[str, Any] = {"cut": cut, "auto_augment": auto_augment}
        parts: tuple[Any, Any, Any]
        parts, classes = folder_loaders(
            data, size, batch_size, workers, n_train=n_train, n_valid=n_valid, seed=seed, **augmentation
        )
    else:
        pictures = data if isinstance(data, Pictures) else read(data)
        classes, size = list(pictures.classes), image_size or pictures.train[0].shape[-1]
        parts = _parts(
            pictures, size, n_train, n_valid, batch_size, seed, cut, _auto_augment() if auto_augment else None
        )
        if smoke:
            parts = (*parts[:2], parts[2].first(64))
    further: dict[str, Any] = {"clip_norm": 5.0, "scheduler": scheduler}
    if mix:
        further["transform"] = mixup(mix, len(classes))
    known = {"num_classes": len(classes), "image_size": size, **settings}
    task = Task(
        "image",
        train=parts[0],
        valid=parts[1],
        test=parts[2],
        space=(space, known),
        metrics={"accuracy": accuracy},
        baseline=_UNSEARCHED.get(space) if baseline is None else baseline,
        loss=loss,
        optimizer=optimizer,
        fit=further,
    )
    return task, plan


def _parts(
    pictures: Pictures,
    size: int,
    n_train: int | None,
    n_valid: int,
    batch_size: int,
    seed: int,
    cut: int | None,
    policy: Callable[[Tensor], Tensor] | None,
) -> tuple[Batches, Batches, Batches]:
    whole(n_valid=n_valid)
    x, y = pictures.train
    if n_valid >= len(x):
        raise ModularNASError(f"n_valid is {n_valid}, but there are {len(x)} training pictures; take fewer")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, valid = order[n_valid:][:n_train], order[:n_valid]
    mean = x[train].float().mean((0, 2, 3), keepdim=True)
    std = x[train].float().std((0, 2, 3), keepdim=True)

    def normal(pixels: Tensor) -> Tensor:
        pixels = (pixels.float() - mean) / std
        return pixels if size == pixels.shape[-1] else nn.functional.interpolate(pixels, size=size, mode="area")

    def augment(batch: Tensor, generator: torch.Generator) -> Tensor:
        batch = crop_and_flip(normal(policy(batch)) if policy else batch, generator)
        return cutout(batch, generator, cut) if cut else batch

    kept = x if policy else normal(x)
    return (
        part(train, kept, y, size=batch_size, shuffle=True, seed=seed, augment=augment),
        part(valid, normal(x), y, size=256),
        Batches(normal(pictures.test[0]), pictures.test[1], size=256),
    )
