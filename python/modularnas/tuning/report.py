"""How a script says its result."""

from __future__ import annotations

import json

__all__ = ["report"]


def report(step: int | None = None, **metrics: float) -> None:
    """Prints metrics as a line of JSON, which `modularnas tune` reads; a script may as well print such a line itself.

    Args:
        step: given: an intermediate result, by which a study with a pruner may end the script early.
        metrics: numbers by name.

    Example:
        >>> mn.report(accuracy=0.93)
        {"accuracy": 0.93}
    """
    numbers = {name: float(value) for name, value in metrics.items()}
    print(json.dumps({**({} if step is None else {"step": int(step)}), **numbers}), flush=True)
