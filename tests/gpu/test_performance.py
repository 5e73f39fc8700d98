"""The table of docs/performance.md on a device: recorded beside the plain form of the same network in the same run.

Times are of CUDA events, or of the clock on a CPU, where networks are so small that a figure says only that it can be
taken. What is asserted is that both forms compute the same.
"""

import copy
import statistics
import time

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import modularnas as mn

ROUNDS = 7


class Calls(TorchDispatchMode):
    """Counts the operators that reach the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def milliseconds(run, device):
    """Of one run, until the device has finished."""
    if device.type != "cuda":
        start_s = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start_s)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def medians(contenders, device):
    """Milliseconds of each, taken in turns after two runs that do not count."""
    times = {name: [] for name in contenders}
    for turn in range(ROUNDS + 2):
        for name, run in contenders.items():
            taken = milliseconds(run, device)
            if turn >= 2:
                times[name].append(taken)
    return {name: statistics.median(of) for name, of in times.items()}


def peak_mib(run, device):
    """Memory of a run beyond what is there before; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def darts(device, fuse):
    size = {"channels": 16, "layers": 8} if device.type == "cuda" else {"channels": 4, "layers": 3, "image_size": 8}
    supernet, x = mn.spaces.create("darts", fuse=fuse, **size)
    return supernet, x.expand(64 if device.type == "cuda" else 2, -1, -1, -1)


def resnet(device, fuse):
    size = {"depth": 50} if device.type == "cuda" else {"depth": 20, "image_size": 8, "num_classes": 10}
    supernet, x = mn.spaces.create("resnet", search="op", fuse=fuse, **size)
    return supernet, x.expand(32 if device.type == "cuda" else 2, -1, -1, -1)


def stepping(supernet, x):
    def step():
        supernet.zero_grad()
        supernet(x).square().mean().backward()

    return step


@pytest.mark.parametrize("make", [darts, resnet])
def test_a_step_against_plain(make, device, record_property):
    steps, supernets = {}, {}
    for name, fuse, relaxation in (
        ("plain", False, "softmax"),
        ("fused", True, "softmax"),
        ("plain, one path", False, "index"),
        ("fused, one path", True, "index"),
    ):
        torch.manual_seed(0)
        supernet, x = make(device, fuse)
        x = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(device)
        supernets[name] = supernet.to(device).relax(relaxation).train()
        steps[name] = stepping(supernet, x)
    for name in ("plain", "fused"):
        steps[name]()
    gradients = [{k: p.grad for k, p in supernets[name].alpha.items()} for name in ("plain", "fused")]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-4)

    peaks = {name: peak_mib(steps[name], device) for name in ("plain", "fused")}
    for name in ("plain", "fused"):
        with Calls() as calls:
            steps[name]()
        record_property(f"calls, {name}", calls.count)
    times = medians(steps, device)
    record_property("plain ms", f"{times['plain']:.1f}")
    for name, taken in times.items():
        record_property(name, f"{taken / times['plain']:.2f}")
    record_property("images/s, fused", f"{1e3 * len(x) / times['fused']:.0f}")
    if peaks["plain"] is not None:
        record_property("peak, fused", f"{peaks['fused'] / peaks['plain']:.2f} of {peaks['plain']:.0f} MiB")


def test_steps_of_a_sliced_supernet_against_its_largest_network(device, record_property):
    size = {} if device.type == "cuda" else {"width": 0.25, "image_size": 32, "num_classes": 10}
    supernet, x = mn.spaces.create("mobilenet_v3", **size)
    x = torch.randn(64 if device.type == "cuda" else 2, *x.shape[1:], device=device)
    supernet = supernet.to(device).train()
    points = supernet.space.samples(20, seed=0)
    largest = points[int(supernet.cost(points)["macs"].argmax())]
    plain = mn.derive(supernet, largest).train()
    drawn = copy.deepcopy(supernet).sampling("uniform", seed=0)
    times = medians(
        {
            "plain": stepping(plain, x),
            "the same point": stepping(supernet.activate(largest), x),
            "drawn": stepping(drawn, x),
            "derive": lambda: mn.derive(supernet, largest),
        },
        device,
    )
    record_property("plain ms", f"{times['plain']:.1f}")
    record_property("the same point", f"{times['the same point'] / times['plain']:.2f}")
    record_property("drawn", f"{times['drawn'] / times['plain']:.2f}")
    record_property("images/s, drawn", f"{1e3 * len(x) / times['drawn']:.0f}")
    record_property("derive ms", f"{times['derive']:.1f}")


def test_a_step_of_fixed_shape_is_one_graph(device, record_property):
    if device.type != "cuda":
        pytest.skip("CUDA graphs need CUDA")
    supernet, x = darts(device, True)
    x = torch.randn(x.shape, device=device)
    supernet = supernet.to(device).relax("softmax").train()
    step = stepping(supernet, x)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    supernet.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        supernet(x).square().mean().backward()
    graph.replay()
    captured = {key: parameter.grad.clone() for key, parameter in supernet.alpha.items()}
    step()
    torch.testing.assert_close(captured, {k: p.grad for k, p in supernet.alpha.items()}, rtol=1e-2, atol=1e-4)
    times = medians({"step": step, "replay": graph.replay}, device)
    record_property("step ms", f"{times['step']:.1f}")
    record_property("replayed", f"{times['replay'] / times['step']:.2f}")


def test_widening_a_whole_network(device, record_property):
    blocks = [nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()) for _ in range(4)]
    net = nn.Sequential(nn.Conv2d(3, 16, 3), *blocks, nn.Conv2d(16, 4, 1)).to(device).eval()
    x = torch.randn(2, 3, 12, 12, device=device)
    wide = mn.transform.widen(net, ratio=1.5, example=x)
    torch.testing.assert_close(wide(x), net(x), rtol=1e-3, atol=1e-4)
    assert next(wide.parameters()).device.type == device.type
    times = medians({"widen": lambda: mn.transform.widen(net, ratio=1.5, example=x, verify=False)}, device)
    record_property("widen ms", f"{times['widen']:.1f}")
