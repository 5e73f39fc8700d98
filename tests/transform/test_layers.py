"""Layers that a trace writes down without running them: the same records as those of torch's own dispatch."""

import pytest
import torch
from torch import nn

import modularnas as mn
from modularnas.transform import layers
from modularnas.transform.trace import trace


class Doubled(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


class Frozen(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(True)


def hooked(module):
    module.register_forward_hook(lambda module, args, output: torch.cat([output, output], 1))
    return module


def patched(module):
    module.forward = lambda x: nn.functional.relu(x) + 1
    return module


IMAGE, SEQUENCE, VOLUME = (2, 4, 9, 7), (2, 4, 9), (2, 4, 5, 6, 7)
CASES = {
    "convolution of a sequence": (nn.Conv1d(4, 6, 3, stride=2), SEQUENCE),
    "convolution": (nn.Conv2d(4, 6, (3, 1), padding=(1, 0), bias=False), IMAGE),
    "dilated in groups": (nn.Conv2d(4, 8, 3, dilation=2, padding=2, groups=2), IMAGE),
    "depthwise": (nn.Conv2d(4, 8, 5, stride=(2, 1), padding=2, groups=4), IMAGE),
    "convolution of a volume": (nn.Conv3d(4, 2, 3, padding=1), VOLUME),
    "without a batch": (nn.Conv2d(4, 6, 3), IMAGE[1:]),
    "same padding": (nn.Conv2d(4, 6, 3, padding="same"), IMAGE),
    "reflected padding": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), IMAGE),
    "a forward of its own": (Doubled(4, 6, 3), IMAGE),
    "norm of features": (nn.BatchNorm1d(4), (3, 4)),
    "norm of a sequence": (nn.BatchNorm1d(4), SEQUENCE),
    "norm": (nn.BatchNorm2d(4), IMAGE),
    "norm of a volume": (nn.BatchNorm3d(4, affine=False), VOLUME),
    "norm of the batch": (nn.BatchNorm2d(4, track_running_stats=False), IMAGE),
    "cumulative norm": (nn.BatchNorm2d(4, momentum=None), IMAGE),
    "norm that always trains": (Frozen(4), IMAGE),
    "hook": (hooked(nn.Conv2d(4, 6, 3)), IMAGE),
    "forward of the instance": (patched(nn.ReLU()), IMAGE),
    **{
        f"{kind.__name__}{' in place' * inplace}": (kind(inplace=inplace), IMAGE)
        for kind in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Hardsigmoid)
        for inplace in (False, True)
    },
}


def recorded(module, shape):
    net = nn.Sequential(nn.Identity(), module)
    seen = trace(net, (torch.randn(shape),), {})
    shapes = {path: [(call.input_shape, call.output_shape, call.end) for call in of] for path, of in seen.calls.items()}
    return seen.network, seen.cost, shapes


@pytest.mark.parametrize("name", CASES)
def test_the_record_is_that_of_torch_own_dispatch(name, monkeypatch):
    module, shape = CASES[name]
    ours = recorded(module, shape)
    monkeypatch.setattr(layers, "run", lambda flow, module, x: None)
    assert ours == recorded(module, shape)


def test_every_known_layer_is_tried():
    assert {type(module) for module, _ in CASES.values()} >= set(layers._OPERATORS)


@pytest.mark.parametrize("name", [name for name, (module, _) in CASES.items() if type(module) in layers._LAYERS])
def test_known_layers_do_not_run(name, monkeypatch):
    module, shape = CASES[name]
    runs = []
    monkeypatch.setattr(layers, "run", lambda *args, run=layers.run: runs.append(run(*args)) or runs[-1])
    recorded(module, shape)
    plain = (
        "without a batch",
        "same padding",
        "reflected padding",
        "norm of the batch",
        "hook",
        "forward of the instance",
    )
    assert (runs[-1] is None) == (name in plain)


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (nn.Conv2d(5, 6, 3), "expected input[2, 4, 9, 7] to have 5 channels"),
        (nn.Conv2d(4, 6, 11), "Kernel size can't be greater than actual input size"),
        (nn.BatchNorm2d(5), "running_mean should contain 4 elements not 5"),
        (nn.BatchNorm3d(4), "expected 5D input (got 4D input)"),
    ],
)
def test_torch_says_what_does_not_fit(net, text):
    with pytest.raises(mn.NetworkError) as error:
        trace(nn.Sequential(net), (torch.randn(IMAGE),), {})
    assert text in str(error.value)


def test_the_given_model_is_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.Dropout())
    before = [dict(vars(module)) for module in net.modules()]
    trace(net, (torch.randn(IMAGE),), {})
    assert [dict(vars(module)) for module in net.modules()] == before
    assert all(module._compiled_call_impl is None for module in net.modules())


def test_a_compiled_module_is_traced_as_written():
    net = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())
    net.compile(backend="eager")
    plain = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())
    x = torch.randn(IMAGE)
    assert trace(net, (x,), {}).network == trace(plain, (x,), {}).network
    assert net._compiled_call_impl is not None
