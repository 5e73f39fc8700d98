"""What fused forms save against the plain weighted sum of the same network in the same process.

One thread, processor time of a forward and backward, medians of interleaved repeats; bytes kept for the backward pass;
calls of ATen operators. The plain form is torch's eager sum over candidates (`fuse=False`).
"""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import modularnas as mn


class Calls(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def kept_bytes(step):
    sizes = {}

    def note(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(sizes.values())


def kernels(channels, size):
    def make(fuse):
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        net = nn.Sequential(nn.Conv2d(3, channels, 1), conv, nn.BatchNorm2d(channels), nn.ReLU())
        x = torch.randn(8, 3, size, size)
        rule = mn.rules.replace(nn.Conv2d, ["conv_3x3", "conv_5x5", "conv_7x7"], where="1")
        return mn.rewrite(net, [rule], example=x, fuse=fuse), x

    return make


def cells(fuse):
    supernet, _ = mn.spaces.create("darts", image_size=32, channels=16, layers=8, fuse=fuse)
    return supernet, torch.randn(8, 3, 32, 32)


@pytest.mark.benchmark
@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("kernels 3/5/7, 16 channels", kernels(16, 32)),
        ("kernels 3/5/7, 64 channels", kernels(64, 16)),
        ("DARTS, 8 cells, 16 channels, batch 8", cells),
    ],
    ids=["kernels16", "kernels64", "darts"],
)
def test_fused_against_plain(what, make, seconds):
    contenders, bytes_, calls = {}, {}, {}
    for name, fuse in (("plain", False), ("fused", True)):
        supernet, x = make(fuse)
        supernet.relax("softmax").train()

        def step(supernet=supernet, x=x):
            supernet(x).square().mean().backward()

        step()
        bytes_[name] = kept_bytes(lambda supernet=supernet, x=x: supernet(x))
        with Calls() as counter:
            step()
        calls[name] = counter.count
        contenders[name] = step
    times = seconds(contenders)
    print(f"\n{what}: a step, fused against plain")
    print(f"  time  {times['fused'] / times['plain']:.2f} of {1e3 * times['plain']:.1f} ms")
    print(f"  kept  {bytes_['fused'] / bytes_['plain']:.2f} of {bytes_['plain'] / 2**20:.1f} MiB")
    print(f"  calls {calls['fused'] / calls['plain']:.2f} of {calls['plain']}")
