"""What a user meets before the first search: metadata, installation, a torch that does not fit."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TORCH = re.search(r'"torch==([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[1]


def import_error_after(setup):
    """What `import modularnas` raises in a new process after `setup`, and whether the native module was loaded."""
    script = f"""
import sys
{setup}
try:
    import modularnas
except ImportError as error:
    print(error)
    print("native module loaded" if "modularnas._core" in sys.modules else "native module not loaded")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_another_torch_is_refused_before_the_native_module_loads():
    assert import_error_after("import torch; torch.__version__ = '2.9.1+cpu'") == [
        f"modularnas was built for torch {TORCH}, but torch 2.9.1+cpu is installed: "
        f'pip install "torch=={TORCH}", or install modularnas again to build it for another torch',
        "native module not loaded",
    ]


def test_a_patch_release_of_the_same_torch_is_accepted():
    patch = TORCH.rpartition(".")[0] + ".99"
    assert import_error_after(f"import torch; torch.__version__ = '{patch}'") == []


def test_missing_torch_says_what_to_install():
    assert import_error_after("sys.modules['torch'] = None") == [
        f'modularnas needs torch {TORCH}, and torch is not installed: pip install "torch=={TORCH}"',
        "native module not loaded",
    ]


def test_only_torch_and_numpy_are_required():
    required = {line for line in importlib.metadata.requires("modularnas") if "extra ==" not in line}
    assert required == {"numpy", f"torch=={TORCH}"}


def test_the_version_is_the_one_of_cargo():
    version = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert importlib.metadata.version("modularnas") == version


def run(*command, cwd=ROOT):
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=cwd, env=clean_environment(), **output)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}"
    return done.stdout


def clean_environment():
    """The environment without what would tell the build where Python or torch is, and a folder of its own."""
    told = ("VIRTUAL_ENV", "PYTHONPATH", "LIBTORCH_", "PYO3_", "PYTHON_SYS_EXECUTABLE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    return {**environment, "CARGO_TARGET_DIR": str(ROOT / "target" / "packaging")}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pip_install_with_build_isolation(tmp_path):
    """`pip install .` beside torch: isolated, with the interpreter of another environment first on PATH.

    The environment has a fixed place, so that a second run finds what the first one compiled.
    """
    venv = ROOT / "target" / "packaging-venv"
    run(sys.executable, "-m", "venv", "--clear", venv)
    python = venv / "bin" / "python"
    needs = (f"torch=={TORCH}", "numpy")
    if shutil.which("uv"):
        run("uv", "pip", "install", "--quiet", "--python", python, *needs)
    else:
        run(python, "-m", "pip", "install", "--quiet", *needs)
    run(python, "-m", "pip", "install", ROOT)
    code = "import modularnas, sys; print(modularnas.__file__); print(modularnas.__version__)"
    file, version = run(python, "-c", code, cwd=tmp_path).splitlines()
    assert Path(file).is_relative_to(venv)
    assert version == importlib.metadata.version("modularnas")
