"""Latency: how long a network takes, measured on a device.

Repeated runs after a warm-up, without gradients; the median and the quartiles are kept, because times have a tail
upwards (as in MLPerf Inference, Reddi et al. 2019, arXiv 1911.02549, section 3). On a GPU the device's own events are
read, after it has ended all work; on a CPU the number of threads is set and put back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from modularnas.errors import EvaluationError
from modularnas.evaluate.candidate import Source, network_of
from modularnas.evaluate.values import values_of

__all__ = ["CLOCKS", "Latency", "Throughput", "Timing", "measure_latency", "threads", "time_calls"]

Clock = Literal["wall", "cpu"]
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.thread_time}


@dataclass(frozen=True)
class Timing:
    """Repeated timings of the same thing, in milliseconds.

    Attributes:
        median_ms: the median.
        low_ms: the lower quartile.
        high_ms: the upper quartile.
        n: the number of timed runs.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    n: int

    @property
    def spread_ms(self) -> float:
        """The distance between the quartiles."""
        return self.high_ms - self.low_ms


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Runs torch on so many CPU threads inside; None: as it is."""
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def time_calls(
    call: Callable[[], Any],
    device: torch.device,
    *,
    repeats: int,
    warmup: int,
    clock: Clock = "wall",
) -> Timing:
    """Times a call again and again.

    Raises:
        EvaluationError: for no repeats, an unknown clock, or a processor's clock of another device.
    """
    if repeats < 1 or warmup < 0:
        raise EvaluationError(f"repeats is {repeats} and warmup {warmup}; expected 1 or more, and 0 or more")
    if clock not in CLOCKS:
        raise EvaluationError(f"clock is {clock!r}; expected 'wall' or 'cpu'")
    if clock == "cpu" and (device.type != "cpu" or torch.get_num_threads() != 1):
        raise EvaluationError(
            f"clock='cpu' counts the calling thread on a CPU; the device is {device} with {torch.get_num_threads()} "
            "threads. Give device='cpu' and n_threads=1, or clock='wall'"
        )
    for _ in range(warmup):
        call()
    if device.type == "cuda":
        pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
        torch.cuda.synchronize(device)
        for first, last in pairs:
            first.record()
            call()
            last.record()
        torch.cuda.synchronize(device)
        times = [first.elapsed_time(last) for first, last in pairs]
    else:
        now, times = CLOCKS[clock], []
        for _ in range(repeats):
            start = now()
            call()
            if device.type not in ("cpu", "meta"):
                torch.accelerator.synchronize(device)
            times.append((now() - start) * 1e3)
    low, median, high = np.quantile(times, [0.25, 0.5, 0.75])
    return Timing(float(median), float(low), float(high), repeats)


def measure_latency(
    net: nn.Module,
    x: Any,
    *,
    device: str | torch.device = "cpu",
    repeats: int = 30,
    warmup: int = 5,
    n_threads: int | None = 1,
    clock: Clock = "wall",
) -> Timing:
    """The latency of one forward in eval mode, without gradients.

    Args:
        net: the network; it is moved to the device, its modes are put back.
        x: its input, or a tuple of inputs; the batch size is that of x.
        device: where to run.
        repeats: timed runs.
        warmup: runs before them.
        n_threads: CPU threads of torch meanwhile; None: as they are.
        clock: `"wall"`, or `"cpu"`: the processor time of this thread, which other programs on a busy machine
            disturb less; for a CPU and one thread.

    Raises:
        EvaluationError: for settings out of range.

    Example:
        >>> timing = mn.evaluate.measure_latency(nn.Conv2d(3, 8, 3), torch.randn(1, 3, 8, 8), repeats=5)
        >>> 0 < timing.low_ms <= timing.median_ms <= timing.high_ms
        True
    """
    where = torch.device(device)
    net = net.to(where)
    inputs = tree_map_only(Tensor, lambda tensor: tensor.to(where), x if isinstance(x, tuple) else (x,))
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        with threads(n_threads), torch.inference_mode():
            return time_calls(lambda: net(*inputs), where, repeats=repeats, warmup=warmup, clock=clock)
    finally:
        for module, training in modes:
            module.training = training


class Latency:
    """Measures the latency of candidates: `latency_ms`, the median, and `latency_spread_ms`, between the quartiles.

    Args:
        source: a supernet, or a function from a point to a network.
        x: the input, or a tuple of inputs; its batch size counts.
        device: where to run.
        repeats: timed runs a candidate.
        warmup: runs before them.
        n_threads: CPU threads of torch meanwhile; None: as they are.
        clock: `"wall"` or `"cpu"`, see `measure_latency`.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> x = torch.randn(1, 3, 8, 8)
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=x)
        >>> study = mn.Study(supernet.space, "random", objectives={"latency_ms": "min"})
        >>> study.optimize(mn.evaluate.Latency(supernet, x, repeats=3), trials=2, progress=False)
        >>> study.best_trial.values["latency_ms"] > 0
        True
    """

    def __init__(
        self,
        source: Source,
        x: Any,
        device: str | torch.device = "cpu",
        *,
        repeats: int = 30,
        warmup: int = 5,
        n_threads: int | None = 1,
        clock: Clock = "wall",
    ) -> None:
        self.build = network_of(source, type(self).__name__)
        self.x = x
        self.settings: dict[str, Any] = {
            "device": device,
            "repeats": repeats,
            "warmup": warmup,
            "n_threads": n_threads,
            "clock": clock,
        }

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The latency of each trial's candidate."""
        return [values_of(self._values(trial), trial, "latency_ms") for trial in trials]

    def _values(self, trial: Any) -> dict[str, float]:
        timing = measure_latency(self.build(trial.point), self.x, **self.settings)
        return {"latency_ms": timing.median_ms, "latency_spread_ms": timing.spread_ms}


class Throughput(Latency):
    """Measures how many inputs a second candidates process: `throughput`, the batch size over the median latency.

    Arguments as `Latency`; give x a large batch.

    Example:
        >>> build = lambda point: nn.Conv2d(3, point["n"], 3)
        >>> evaluator = mn.evaluate.Throughput(build, torch.randn(16, 3, 8, 8), repeats=3)
        >>> study = mn.Study(mn.SearchSpace({"n": mn.integer(8, 8)}), "random", objectives={"throughput": "max"})
        >>> study.optimize(evaluator, trials=1, progress=False)
        >>> study.best_trial.values["throughput"] > 0
        True
    """

    def _values(self, trial: Any) -> dict[str, float]:
        first = self.x[0] if isinstance(self.x, tuple) else self.x
        latency_ms = super()._values(trial)["latency_ms"]
        return {"throughput": len(first) / latency_ms * 1e3}
