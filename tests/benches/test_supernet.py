"""Whole supernets against plain PyTorch: a step in time and peak memory, and what a sub-network of it costs.

One thread, processor time, medians of repeats taken in turns. The plain form is torch's eager sum over candidates
(`fuse=False`), as given and in channels-last memory. Peak memory is that of a process of its own, beyond what it
has when the supernet is made, so it is Linux's. A copied sub-network is compared with a copy of as many bytes, with
making its layers anew and loading them, and with `copy.deepcopy` of the network itself.
"""

import copy
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.transform.trace import trace

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]


def darts(fuse):
    supernet, _ = mn.spaces.create("darts", image_size=32, channels=16, layers=8, fuse=fuse)
    return supernet, torch.randn(8, 3, 32, 32)


def resnet50(fuse, shared=False):
    torchvision = pytest.importorskip("torchvision")
    x = torch.randn(8, 3, 128, 128)
    net = torchvision.models.resnet50(weights=None, num_classes=10)
    where = [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)]
    rule = mn.rules.replace(nn.Conv2d, ["conv_3x3", "conv_5x5", "conv_7x7"], where=where)
    if shared:
        rule = mn.rules.kernel_size(3, 5, 7, where=where)
    return mn.rewrite(net, [rule], example=x, fuse=fuse), x


RESNET = "ResNet-50, kernels 3/5/7, batch 8 of 128 x 128"
SHARED = "the same with one set of kernels"
NETS = {"DARTS, 8 cells, 16 channels, batch 8": darts, RESNET: resnet50}
EVERY = {**NETS, SHARED: lambda fuse: resnet50(fuse, shared=True)}


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


def peak_kib(name, fuse):
    command = [sys.executable, __file__, name, str(int(fuse))]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("name", list(NETS))
def test_peak_memory_against_plain(name):
    plain_kib = peak_kib(name, False)
    ratio = peak_kib(name, True) / plain_kib
    print(f"\n{name}: peak memory of a step, fused {ratio:.2f} of {plain_kib / 1024:.0f} MiB of the plain form")


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_one_set_of_kernels_against_three(seconds):
    """Smaller kernels that are centres of the largest: another network than the plain one, for the same choice."""
    torch.set_num_threads(1)
    steps = {name: stepping(make, name == SHARED) for name, make in EVERY.items() if name in (RESNET, SHARED)}
    times = seconds(steps, rounds=3)
    ratio = peak_kib(SHARED, True) / peak_kib(RESNET, False)
    print(
        f"\n{RESNET}, {SHARED}: {times[SHARED] / times[RESNET]:.2f} of the time of the plain form, {ratio:.2f} of the peak"
    )


def made_and_loaded(net):
    """As hand-written supernets do it: modules are made with fresh weights, which are then overwritten."""
    layers = [module for module in net.modules() if type(module) in REMADE]
    states = [module.state_dict() for module in layers]

    def make():
        for module, state in zip(layers, states, strict=True):
            REMADE[type(module)](module).load_state_dict(state)

    return make


REMADE = {
    nn.Conv2d: lambda m: nn.Conv2d(
        m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.dilation, m.groups, m.bias is not None
    ),
    nn.BatchNorm2d: lambda m: nn.BatchNorm2d(m.num_features),
    nn.Linear: lambda m: nn.Linear(m.in_features, m.out_features),
}


def widened_by_hand(net, bottleneck, ratio=1.5):
    """Net2Wider of the inner layers of every block in plain PyTorch, which knows how a ResNet-50 is made."""
    generator = torch.Generator().manual_seed(0)
    net = copy.deepcopy(net)
    with torch.no_grad():
        for block in net.modules():
            if not isinstance(block, bottleneck):
                continue
            for name, norm_name, reader_name in (("conv1", "bn1", "conv2"), ("conv2", "bn2", "conv3")):
                layer, norm, reader = (getattr(block, part) for part in (name, norm_name, reader_name))
                old, new = layer.out_channels, int(layer.out_channels * ratio)
                of = torch.cat([torch.arange(old), torch.randint(0, old, (new - old,), generator=generator)])
                counts = torch.bincount(of, minlength=old).float()
                layer.weight, layer.out_channels = nn.Parameter(layer.weight[of]), new
                wide = nn.BatchNorm2d(new)
                for part in ("weight", "bias", "running_mean", "running_var"):
                    getattr(wide, part).data.copy_(getattr(norm, part)[of])
                setattr(block, norm_name, wide.train(norm.training))
                reader.weight = nn.Parameter(reader.weight[:, of] / counts[of].view(1, -1, 1, 1))
                reader.in_channels = new
    return net


def test_net2wider_of_a_whole_network_against_plain(seconds):
    models = pytest.importorskip("torchvision").models
    torch.set_num_threads(1)
    net, x = models.resnet50(weights=None).eval(), torch.randn(1, 3, 64, 64)
    layers = [p for p, _ in net.named_modules() if p.startswith("layer") and p.endswith(("conv1", "conv2"))]
    contenders = {
        "plain": lambda: widened_by_hand(net, models.resnet.Bottleneck),
        "widen, verify=False": lambda: mn.transform.widen(net, layers, ratio=1.5, example=x, verify=False),
        "widen": lambda: mn.transform.widen(net, layers, ratio=1.5, example=x),
        "its trace alone": lambda: trace(net, (x,), {}),
        "deepcopy of the network": lambda: copy.deepcopy(net),
    }
    times = seconds(contenders, rounds=5)
    print(f"\nResNet-50, inner layers of blocks 1.5 times as wide: {1e3 * times['plain']:.0f} ms in plain PyTorch")
    for name, taken in times.items():
        print(f"  {name:24s} {1e3 * taken:8.1f} ms, {taken / times['plain']:5.2f} of plain")


def test_a_sub_network_against_a_copy_of_its_bytes(seconds):
    torch.set_num_threads(1)
    supernet, _ = mn.spaces.create("mobilenet_v3", num_classes=1000, image_size=224)
    points = supernet.space.samples(2, seed=0)
    net = mn.derive(supernet, points[0])
    state = net.state_dict()
    flat = torch.empty(sum(tensor.nbytes for tensor in state.values()), dtype=torch.uint8)
    # Eight pairs of buffers in turns, which no cache holds: what reading a supernet and filling a new network is like.
    pairs = itertools.cycle([(torch.ones_like(flat), torch.ones_like(flat)) for _ in range(8)])

    def copied():
        given, made = next(pairs)
        made.copy_(given)

    def activate():
        for point in points:
            supernet.activate(point)

    contenders = {
        "copy of as many bytes": copied,
        "the same bytes each time": flat.clone,
        "made anew, then loaded": made_and_loaded(net),
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
    supernet, x = EVERY[sys.argv[1]](bool(int(sys.argv[2])))
    supernet.relax("softmax").train()
    before_kib = memory_kib("VmRSS")
    for _ in range(2):
        supernet.zero_grad()
        supernet(x).square().mean().backward()
    print(memory_kib("VmHWM") - before_kib)
