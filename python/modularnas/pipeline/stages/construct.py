"""Construct: a model and rules become a supernet."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypedDict

from torch import Tensor

from modularnas.pipeline.stages.network import build_supernet, to_cpu
from modularnas.pipeline.stages.task import make_task

__all__ = ["Constructed", "construct"]


class Constructed(TypedDict):
    """A supernet as data."""

    supernet: dict[str, Any]
    weights: dict[str, Tensor]
    original: dict[str, Any] | None
    n_points: float | None
    n_params: int


def construct(
    model: str,
    task: dict[str, Any],
    seed: int,
    arguments: dict[str, Any] | None = None,
    rules: list[dict[str, Any]] | None = None,
    example: list[int] | None = None,
) -> Constructed:
    """Builds a supernet.

    Args:
        model: `"module:function"` or `"file.py:function"` that returns a network, or a pair of a supernet and an
            example of its input; or the name of a ready space.
        task: data, loss and score: `{"data": "cifar10", "path": …}` (see `Pictures`), or `{"run": "file.py:Class", …}`.
        seed: of the first weights.
        arguments: of the function.
        rules: what may vary, as `[{"kernel_size": [3, 5]}, {"width": {"choices": [0.5, 1.0], "where": "layer3.*"}}]`.
        example: the shape of an input, batch included.

    Returns:
        `supernet`, its description, for the other stages; `weights`; `original`, the given architecture; `n_points`
        and `n_params`.
    """
    description: dict[str, Any] = {
        "model": model if ":" in model else "modularnas.pipeline.stages.construct:ready_space",
        "arguments": dict(arguments or {}) if ":" in model else {"name": model, **(arguments or {})},
        "rules": list(rules or []),
        "example": example,
        "task": task,
        "seed": seed,
        "code": [_code(model), _code(task.get("run", ""))],
    }
    make_task(task)  # wrong data is found here, not after the training
    supernet, _ = build_supernet(description)
    original = supernet.original_point
    size = supernet.space.size
    return {
        "supernet": description,
        "weights": to_cpu(supernet.state_dict()),
        "original": None if original is None else dict(original),
        "n_points": None if size is None else float(size),
        "n_params": sum(parameter.numel() for parameter in supernet.parameters()),
    }


def ready_space(name: str, **arguments: Any) -> Any:
    """A ready space by name."""
    from modularnas import spaces

    return spaces.create(name, **arguments)


def _code(place: str) -> str | None:
    """The content of a user's file, on which the later stages depend too."""
    path = Path(place.rpartition(":")[0])
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix == ".py" and path.is_file() else None
