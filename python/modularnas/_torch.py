"""The guard before the native module, which is linked against one minor version of torch and may crash another."""

from __future__ import annotations

import importlib.metadata


def check_torch() -> None:
    """Import torch and compare it with the version that this build was linked against.

    The build recorded that version in the package's metadata, as the requirement `torch==X` (build.rs checks it).

    Raises:
        ImportError: torch is missing or has another minor version; says which, and what to type.
    """
    requirements = importlib.metadata.requires("modularnas") or []
    built = next(line.removeprefix("torch==") for line in requirements if line.startswith("torch=="))
    remedy = f'pip install "torch=={built}"'
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(f"modularnas needs torch {built}, and torch is not installed: {remedy}") from None
    if torch.__version__.split(".")[:2] != built.split(".")[:2]:
        raise ImportError(
            f"modularnas was built for torch {built}, but torch {torch.__version__} is installed: "
            f"{remedy}, or install modularnas again to build it for another torch"
        )
