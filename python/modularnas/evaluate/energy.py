"""Energy: what one forward takes, where the machine has a meter.

The counters of the processor package (RAPL, as Linux shows them in `/sys/class/powercap`; it counts all that runs on
the package) and of an NVIDIA GPU (NVML's total energy; extra `nvidia`). Where there is none, that is said at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from modularnas.errors import EvaluationError, MissingExtraError
from modularnas.evaluate.candidate import Source, network_of

__all__ = ["Energy"]

_RAPL = Path("/sys/class/powercap")


def _rapl(folder: Path) -> Callable[[], float]:
    """A function that reads the joules of all packages; counters that wrap round are followed."""
    packages = sorted(folder.glob("intel-rapl:[0-9]"))
    readable = [package for package in packages if _read(package / "energy_uj") is not None]
    if not readable:
        why = "its counters cannot be read (root may)" if packages else f"there is no RAPL counter in {folder}"
        raise EvaluationError(f"energy is not available on this CPU: {why}; leave the metric out, or measure elsewhere")
    last = {package: _read(package / "energy_uj") or 0 for package in readable}
    total = 0

    def joules() -> float:
        nonlocal total
        for package in readable:
            now = _read(package / "energy_uj") or 0
            step = now - last[package]
            total += step if step >= 0 else step + (_read(package / "max_energy_range_uj") or 0)
            last[package] = now
        return total / 1e6

    return joules


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _nvml(device: torch.device) -> Callable[[], float]:
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise MissingExtraError('energy of a GPU needs NVML: pip install "modularnas[nvidia]"') from error
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(device.index or 0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        raise EvaluationError(f"energy is not available on {device}: {error}; leave the metric out") from error
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3


class Energy:
    """Measures the energy of one forward of candidates: `energy_mj`, in millijoules.

    The device is read before and after so many runs that its counter moves; whatever else runs on it is counted too.

    Args:
        source: a supernet, or a function from a point to a network.
        x: the input, or a tuple of inputs; its batch size counts.
        device: where to run.
        repeats: runs a reading.
        warmup: runs before them.

    Raises:
        EvaluationError: where no meter can be read, saying why.
        MissingExtraError: on a GPU without the extra `nvidia`.
    """

    def __init__(
        self,
        source: Source,
        x: Any,
        device: str | torch.device = "cpu",
        *,
        repeats: int = 100,
        warmup: int = 5,
    ) -> None:
        self.build = network_of(source, "Energy")
        self.device = torch.device(device)
        self.joules = _nvml(self.device) if self.device.type == "cuda" else _rapl(_RAPL)
        self.x = tree_map_only(Tensor, lambda tensor: tensor.to(self.device), x if isinstance(x, tuple) else (x,))
        self.repeats = repeats
        self.warmup = warmup

    def evaluate(self, trials: Sequence[Any]) -> list[dict[str, float]]:
        """The energy of each trial's candidate."""
        return [{"energy_mj": self._measure(trial)} for trial in trials]

    def _measure(self, trial: Any) -> float:
        net = self.build(trial.point).to(self.device).eval()
        with torch.inference_mode():
            for _ in range(self.warmup):
                net(*self.x)
            self._wait()
            start = self.joules()
            for _ in range(self.repeats):
                net(*self.x)
            self._wait()
        return (self.joules() - start) / self.repeats * 1e3

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
