"""PEP 517 build backend: maturin's hooks, told which torch to link.

The native module is linked against torch. Asking for torch in `build-system.requires` would download it twice
(gigabytes) and link the copy in a build environment that is deleted afterwards. So this wrapper

* asks for torch only when the target environment lacks the required version (pip runs the hooks with the target's
  interpreter; uv has a build environment of its own and takes torch from its cache),
* puts a `python3` that sees that torch first on PATH, since torch-sys asks whichever `python3` it finds there,
* sets LIBTORCH_USE_PYTORCH to torch's folder: torch-sys watches the value and links anew when it changes.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import maturin
from maturin import (  # noqa: F401  (hooks that need no torch)
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)


def _required_version() -> str:
    """The one place that names torch's version is `dependencies` in pyproject.toml."""
    found = re.search(r'"torch==([\d.]+)"', Path("pyproject.toml").read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit('pyproject.toml has no dependency of the form "torch==X.Y.Z"')
    return found[1]


def _target_torch() -> Path | None:
    """Torch's folder in the target environment, if it is there in the required version."""
    folder = Path(sysconfig.get_path("platlib"), "torch")
    version_file = folder / "version.py"
    installed = version_file.read_text(encoding="utf-8") if version_file.is_file() else ""
    return folder if re.search(rf"__version__ = '{re.escape(_required_version())}[+']", installed) else None


def _build_torch() -> Path:
    """Torch's folder in the isolated build environment."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit(f"building modularnas needs torch: pip install torch=={_required_version()}")
    return Path(spec.origin).parent


@contextmanager
def _linking_torch() -> Iterator[None]:
    target = _target_torch()
    # pip isolates a build by PYTHONPATH: without it the interpreter sees the target environment again.
    isolation = "env -u PYTHONPATH " if target else ""
    saved = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("python", "python3"):
            shim = Path(folder, name)
            shim.write_text(f'#!/bin/sh\nexec {isolation}{shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
            shim.chmod(0o755)
        os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", "")
        os.environ["LIBTORCH_USE_PYTORCH"] = str(target or _build_torch())
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(saved)


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """What maturin needs, and torch where the target environment has none."""
    needed = maturin.get_requires_for_build_wheel(config_settings)
    return needed if _target_torch() else [*needed, f"torch=={_required_version()}"]


get_requires_for_build_editable = get_requires_for_build_wheel


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel; returns its file name."""
    with _linking_torch():
        return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build an editable wheel (`pip install -e .`); returns its file name."""
    with _linking_torch():
        return maturin.build_editable(wheel_directory, config_settings, metadata_directory)
