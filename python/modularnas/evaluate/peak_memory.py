"""Peak memory: the most bytes that tensors of one forward, or of one training step, take at a time.

Counted: the network runs on fake tensors (no computing), every storage that an operator makes is followed until it
dies, and the largest sum is kept, with parameters and buffers. That is exact for tensors and knows nothing of the
workspaces of kernels. Measured: on a GPU the allocator's own peak (`torch.cuda.max_memory_allocated`); on a CPU the
allocations that torch's profiler reports, which include workspaces taken from torch's allocator.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from modularnas.errors import EvaluationError
from modularnas.evaluate.candidate import Source, network_of

__all__ = ["PeakMemory", "count_peak_memory", "measure_peak_memory"]


class _Live(TorchDispatchMode):
    """Follows the bytes of all storages that operators make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.follow(leaf)
        return out

    def follow(self, tensor: Tensor) -> None:
        """Counts the storage of a tensor from now until it dies."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._seen:
            self._seen.add(key)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._drop, key, storage.nbytes())

    def _drop(self, key: int, n_bytes: int) -> None:
        self._seen.discard(key)
        self.live -= n_bytes


def count_peak_memory(net: nn.Module, x: Any, *, training: bool = False) -> int:
    """The most bytes of tensors at a time, counted without computing; parameters, buffers and inputs included.

    Args:
        net: the network, left as it is.
        x: its input, or a tuple of inputs.
        training: whether a backward of the summed outputs follows, in train mode.

    Example:
        >>> net = nn.Linear(10, 100, bias=False)
        >>> mn.evaluate.count_peak_memory(net, torch.randn(5, 10)) == 4 * (10 * 100 + 5 * 10 + 5 * 100)
        True
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        # Copied with fakes in place of its tensors; a storage cannot be copied here.
        tensors = {id(tensor): fake.from_tensor(tensor) for tensor in [*net.parameters(), *net.buffers()]}
        own = copy.deepcopy(net, tensors).train(training)
        inputs = tree_map_only(Tensor, fake.from_tensor, x if isinstance(x, tuple) else (x,))
        with _Live() as live:
            for tensor in [*own.parameters(), *own.buffers(), *tree_leaves(inputs)]:
                if isinstance(tensor, Tensor):
                    live.follow(tensor)
            _step(own, inputs, training)
    peak: int = live.peak
    return peak


def measure_peak_memory(net: nn.Module, x: Any, *, device: str | torch.device = "cpu", training: bool = False) -> int:
    """The most bytes that torch's allocator had given out at a time, with the parameters, buffers and inputs.

    Args:
        net: the network; its modes and gradients are left as they are.
        x: its input, or a tuple of inputs.
        device: where to run.
        training: whether a backward of the summed outputs follows, in train mode.

    Raises:
        EvaluationError: for a device whose allocator cannot be asked.

    Example:
        >>> mn.evaluate.measure_peak_memory(nn.Linear(10, 100, bias=False), torch.randn(5, 10)) >= 4 * 10 * 100
        True
    """
    where = torch.device(device)
    if where.type not in ("cpu", "cuda"):
        raise EvaluationError(f"peak memory is not available on {where}: its allocator cannot be asked; see counted")
    own = copy.deepcopy(net).to(where).train(training)
    inputs = tree_map_only(Tensor, lambda tensor: tensor.to(where), x if isinstance(x, tuple) else (x,))
    if where.type == "cuda":
        torch.cuda.synchronize(where)
        torch.cuda.reset_peak_memory_stats(where)
        _step(own, inputs, training)
        torch.cuda.synchronize(where)
        return torch.cuda.max_memory_allocated(where)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiled:
        _step(own, inputs, training)
    changes = [event.nbytes() for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for change in changes:
        live += change
        peak = max(peak, live)
    held = [*own.parameters(), *own.buffers(), *tree_leaves(inputs)]
    return peak + sum(tensor.nbytes for tensor in held if isinstance(tensor, Tensor))


def _step(net: nn.Module, inputs: Sequence[Any], training: bool) -> None:
    if not training:
        with torch.no_grad():
            net(*inputs)
        return
    outputs = [leaf for leaf in tree_leaves(net(*inputs)) if isinstance(leaf, Tensor) and leaf.requires_grad]
    torch.stack([leaf.sum() for leaf in outputs]).sum().backward()


class PeakMemory:
    """The peak memory of candidates in bytes: `peak_memory_bytes`.

    Args:
        source: a supernet, or a function from a point to a network.
        x: the input, or a tuple of inputs; its batch size counts.
        how: `"counted"`, the same on every machine, or `"measured"` on the device.
        device: where to measure.
        training: whether of a forward and backward instead of a forward.

    Raises:
        EvaluationError: for another `how`.

    Example:
        >>> build = lambda point: nn.Conv2d(3, point["n"], 3)
        >>> study = mn.Study(mn.SearchSpace({"n": mn.choice([4, 8])}), "grid", objectives={"peak_memory_bytes": "min"})
        >>> study.optimize(mn.evaluate.PeakMemory(build, torch.randn(1, 3, 8, 8)), trials=2, progress=False)
        >>> study.best_trial.point["n"]
        4
    """

    def __init__(
        self,
        source: Source,
        x: Any,
        *,
        how: Literal["counted", "measured"] = "counted",
        device: str | torch.device = "cpu",
        training: bool = False,
    ) -> None:
        if how not in ("counted", "measured"):
            raise EvaluationError(f"how is {how!r}; expected 'counted' or 'measured'")
        self.build = network_of(source, "PeakMemory")
        self._peak: Callable[[nn.Module], int] = (
            (lambda net: count_peak_memory(net, x, training=training))
            if how == "counted"
            else (lambda net: measure_peak_memory(net, x, device=device, training=training))
        )

    def evaluate(self, trials: Sequence[Any]) -> list[dict[str, float]]:
        """The peak memory of each trial's candidate."""
        return [{"peak_memory_bytes": float(self._peak(self.build(trial.point)))} for trial in trials]
