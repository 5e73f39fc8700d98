"""Run the device tests on a bare machine: `python3 tests/gpu_check.py`.

Needs Python >= 3.10 with torch, numpy and pytest; no compiler, no network. The wheel built by `make wheel` is carried
in `dist/` and installed into a temporary folder. Where there is no CUDA the same tests run on the CPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import torch

LIMIT_S = 530
HERE = Path(__file__).resolve().parent


def install(folder: str) -> None:
    """Unpack the wheel into the folder, without looking for anything else."""
    wheels = sorted((HERE.parent / "dist").glob("modularnas-*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        sys.exit("no wheel in dist/: run `make wheel` where there is a Rust toolchain, and carry dist/ here")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "install",
        "--root-user-action=ignore",
    ]
    subprocess.run([*pip, "--no-index", "--no-deps", "--target", folder, str(wheels[-1])], check=True)
    print(f"{wheels[-1].name} installed", flush=True)


def run_tests(folder: str, report: Path) -> int:
    """Run pytest on tests/gpu with the installed package; the project's other settings need plugins and stay out."""
    environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(HERE / "gpu" / "pytest.ini"), "--junitxml", str(report)]
    try:
        return subprocess.run([*command, str(HERE / "gpu")], env=environment, cwd=folder, timeout=LIMIT_S).returncode
    except subprocess.TimeoutExpired:
        print(f"stopped after {LIMIT_S} s", flush=True)
        return 124


def table(report: Path) -> list[str]:
    """One line for each test: result, seconds, name, and what it recorded with `record_property`."""
    lines = []
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        states = {"failure": "FAILED", "error": "ERROR", "skipped": "skipped"}
        state = next((states[child.tag] for child in case if child.tag in states), "passed")
        recorded = " ".join(f"{item.get('name')}={item.get('value')}" for item in case.iter("property"))
        lines.append(f"{state:8}{float(case.get('time', 0)):7.1f} s  {case.get('name')}  {recorded}".rstrip())
    return lines


def main() -> int:
    """Install, test, print the table; returns pytest's exit status."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        install(folder)
        status = run_tests(folder, report)
        lines = table(report)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu (no CUDA here)"
    print(f"\ndevice: {device} · torch {torch.__version__} · python {sys.version.split()[0]}", *lines, sep="\n")
    print(f"{'passed' if status == 0 else f'FAILED ({status})'} in {time.monotonic() - start:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
