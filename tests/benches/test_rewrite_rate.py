"""How fast a given network becomes a supernet, and what the supernet weighs, beside the rivals.

Rivals, where they are installed: NVIDIA ModelOpt (`mtn.convert`: width and depth) and NNI (a `LayerChoice` of three
convolutions in place of each; it only swaps modules: no shapes, no costs, no coupling). Always: `copy.deepcopy` of the
network, the least that a rewrite which leaves the given model alone must do. Figures of one run: one thread, processor
time, medians of interleaved repeats.
"""

import contextlib
import copy
import gc
import io
import statistics
import time
import warnings

import pytest
import torch

import modularnas as mn

models = pytest.importorskip("torchvision.models")

X = torch.randn(1, 3, 224, 224)
ROUNDS = 7


def rules(everything):
    kernels = [mn.rules.kernel_size(3, 5, 7)]
    return [*kernels, mn.rules.width(0.5, 0.75, 1.0), mn.rules.depth()] if everything else kernels


def megabytes(net):
    return sum(t.numel() * t.element_size() for t in [*net.parameters(), *net.buffers()]) / 2**20


def nni_swap(nni):
    """Every spatial convolution replaced by a choice of three, as its users write it."""

    def swap(net):
        for number, (path, conv) in enumerate(list(net.named_modules())):
            if isinstance(conv, torch.nn.Conv2d) and conv.kernel_size[0] > 1:
                made = [
                    torch.nn.Conv2d(
                        conv.in_channels, conv.out_channels, k, conv.stride, k // 2, groups=conv.groups, bias=False
                    )
                    for k in (3, 5, 7)
                ]
                parent, _, name = path.rpartition(".")
                setattr(net.get_submodule(parent), name, nni.LayerChoice(made, label=f"k{number}"))
        return net

    class Space(nni.ModelSpace):  # a LayerChoice can only be made while one is constructed
        def __init__(self, net):
            super().__init__()
            self.net = swap(net)

    return Space


def converted(modelopt):
    def convert(net):
        with contextlib.redirect_stdout(io.StringIO()):
            return modelopt.convert(net, mode="autonas")

    return convert


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_rewrite(name, installed):
    net = getattr(models, name)().eval()
    contenders = {
        "deepcopy of the network": copy.deepcopy,
        "ours, kernels": lambda given: mn.rewrite(given, rules(False), example=X),
        "ours, kernels, in place": lambda given: mn.rewrite(given, rules(False), example=X, inplace=True),
        "ours, kernels, width, depth": lambda given: mn.rewrite(given, rules(True), example=X),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if (nni := installed("nni.nas.nn.pytorch")) is not None:
            contenders["NNI, kernels, in place"] = nni_swap(nni)
        if (modelopt := installed("modelopt.torch.nas")) is not None:
            contenders["ModelOpt, width, depth, in place"] = converted(modelopt)
        times = {contender: [] for contender in contenders}
        weights = {}
        for _ in range(ROUNDS):
            for contender, run in contenders.items():
                given, made = copy.deepcopy(net), None  # what the last one made is freed before the clock starts
                gc.collect()
                start = time.process_time()
                made = run(given)
                times[contender].append(time.process_time() - start)
                weights[contender] = megabytes(made)
    medians = {contender: statistics.median(of) for contender, of in times.items()}
    baseline = medians["deepcopy of the network"]
    print(f"\nrewriting {name}: milliseconds, times the deepcopy, megabytes of weights")
    for contender, seconds in medians.items():
        print(f"  {contender:<34} {seconds * 1e3:8.1f} {seconds / baseline:8.2f} {weights[contender]:8.1f}")


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_where_the_time_goes(name):
    from modularnas import _core
    from modularnas.transform.trace import trace

    net = getattr(models, name)().eval()
    traced = trace(net, (X,), {})
    print(f"\nof rewriting {name}: milliseconds")
    for everything in (False, True):
        applied = [rule.applied(dict(net.named_modules())) for rule in rules(everything)]
        plan = _core.plan_rewrite(traced.network, applied)
        parts = {
            "trace": lambda: trace(net, (X,), {}),
            "plan, records read": lambda applied=applied: _core.plan_rewrite(traced.network, applied),
            "plan alone": lambda plan=plan: plan.without({}),
        }
        for part, run in parts.items():
            times = []
            for _ in range(ROUNDS):
                start = time.process_time()
                run()
                times.append(time.process_time() - start)
            label = "kernels, width, depth" if everything else "kernels"
            print(f"  {label:<24} {part:<20} {statistics.median(times) * 1e3:8.2f}")


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_memory(name):
    """A supernet is as large as its largest network: slices are shared, not copied."""
    net = getattr(models, name)().eval()
    crops = mn.rules.kernel_size(1, 3, where=lambda path, module: getattr(module, "kernel_size", None) == (3, 3))
    cropped = mn.rewrite(net, [crops], example=X)
    print(f"\nthe parameters of a supernet of {name}, divided by those of its largest network")
    for label, supernet in (
        ("kernels, width, depth", mn.rewrite(net, rules(True), example=X)),
        ("kernels cropped from the given", cropped),
    ):
        largest = supernet.space.bounds("params")[1]
        ratio = sum(p.numel() for p in supernet.parameters()) / largest
        print(f"  {label:<34} {ratio:.4f}")
        assert ratio <= 1.05
    assert sum(p.numel() for p in cropped.parameters()) == sum(p.numel() for p in net.parameters())
