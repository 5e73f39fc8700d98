"""Whole supernets against plain PyTorch: a step in time and peak memory, and what a sub-network of it costs.

One thread, processor time, medians of repeats taken in turns. The plain form is torch's eager sum over candidates
(`fuse=False`), as given and in channels-last memory. Peak memory is that of a process of its own, beyond what it
has when the supernet is made, so it is Linux's. A copied sub-network is compared with a copy of as many bytes and with
`copy.deepcopy` of the network itself.
"""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import modularnas as mn

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]


def darts(fuse):
    supernet, _ = mn.spaces.create("darts", image_size=32, channels=16, layers=8, fuse=fuse)
    return supernet, torch.randn(8, 3, 32, 32)


def resnet50(fuse):
    torchvision = pytest.importorskip("torchvision")
    x = torch.randn(8, 3, 128, 128)
    net = torchvision.models.resnet50(weights=None, num_classes=10)
    where = [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)]
    rule = mn.rules.replace(nn.Conv2d, ["conv_3x3", "conv_5x5", "conv_7x7"], where=where)
    return mn.rewrite(net, [rule], example=x, fuse=fuse), x


NETS = {"DARTS, 8 cells, 16 channels, batch 8": darts, "ResNet-50, kernels 3/5/7, batch 8 of 128 x 128": resnet50}


def stepping(make, fuse, relaxation="softmax", channels_last=False):
    supernet, x = make(fuse)
    supernet.relax(relaxation).train()
    if channels_last:
        supernet, x = supernet.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)

    def step():
        supernet.zero_grad()
        supernet(x).square().mean().backward()

    step()
    return step


@pytest.mark.parametrize("name", list(NETS))
def test_a_step_against_plain(name, seconds):
    torch.set_num_threads(1)
    make = NETS[name]
    steps = {
        "plain": stepping(make, False),
        "plain, channels last": stepping(make, False, channels_last=True),
        "fused": stepping(make, True),
        "plain, one path": stepping(make, False, "index"),
        "fused, one path": stepping(make, True, "index"),
    }
    times = seconds(steps, rounds=3)
    print(f"\n{name}: a step, of {1e3 * times['plain']:.0f} ms of the plain form")
    for contender, taken in times.items():
        print(f"  {contender:22s} {taken / times['plain']:.2f}")
    print(f"  fused against channels last {times['fused'] / times['plain, channels last']:.2f}")


def memory_kib(what):
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("name", list(NETS))
def test_peak_memory_against_plain(name):
    peaks = {}
    for fuse in (False, True):
        command = [sys.executable, __file__, name, str(int(fuse))]
        peaks[fuse] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ratio = peaks[True] / peaks[False]
    print(f"\n{name}: peak memory of a step, fused {ratio:.2f} of {peaks[False] / 1024:.0f} MiB of the plain form")


def test_a_sub_network_against_a_copy_of_its_bytes(seconds):
    torch.set_num_threads(1)
    supernet, _ = mn.spaces.create("mobilenet_v3", num_classes=1000, image_size=224)
    points = supernet.space.samples(2, seed=0)
    net = mn.derive(supernet, points[0])
    state = net.state_dict()
    flat = torch.empty(sum(tensor.nbytes for tensor in state.values()), dtype=torch.uint8)

    def activate():
        for point in points:
            supernet.activate(point)

    contenders = {
        "copy of as many bytes": lambda: flat.clone(),
        "derive": lambda: mn.derive(supernet, points[0]),
        "derive, views": lambda: mn.derive(supernet, points[0], share=True),
        "activate two in turns": activate,
        "deepcopy of the network": lambda: copy.deepcopy(net),
    }
    times = seconds(contenders, rounds=9, at_least=0.1)
    print(f"\nMobileNetV3, {len(state)} tensors, {flat.nbytes / 1e6:.0f} MB")
    for name, taken in times.items():
        print(f"  {name:24s} {1e3 * taken:8.3f} ms, {taken / times['copy of as many bytes']:6.2f} of the copy of bytes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    supernet, x = NETS[sys.argv[1]](bool(int(sys.argv[2])))
    supernet.relax("softmax").train()
    before_kib = memory_kib("VmRSS")
    for _ in range(2):
        supernet.zero_grad()
        supernet(x).square().mean().backward()
    print(memory_kib("VmHWM") - before_kib)
