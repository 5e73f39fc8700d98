"""What lets a stage go on inside after a crash: its last state on disk, with the random number generators'."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modularnas.pipeline.result import write_atomically

__all__ = ["Checkpoint", "seed_everything"]


class Checkpoint:
    """The last state of a stage; a stage that has an argument `checkpoint` gets one.

    Example:
        >>> from modularnas.pipeline import Checkpoint
        >>> checkpoint = Checkpoint("here.pt")
        >>> checkpoint.load() is None
        True
        >>> checkpoint.save(epoch=3, weights={"w": torch.ones(2)})
        >>> checkpoint.load()["epoch"]
        3
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def save(self, **state: Any) -> None:
        """Keeps data and tensors (state dicts of networks and torch optimizers too) instead of those before."""
        with write_atomically(self.path) as path:
            torch.save({"state": state, "generators": _generators()}, path)

    def load(self) -> dict[str, Any] | None:
        """The last saved state, and its random numbers go on from there; None if there is none."""
        if not self.path.is_file():
            return None
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        _restore(saved["generators"])
        return saved["state"]  # type: ignore[no-any-return]


def seed_everything(seed: int) -> None:
    """Seeds torch, NumPy and Python's `random`."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _generators() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, keys.tolist(), position, has_gauss, cached],  # type: ignore[union-attr]
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(states: dict[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
