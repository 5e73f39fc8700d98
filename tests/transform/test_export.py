"""Export: plain source and weights that need torch alone, whatever the network is made of."""

import importlib
import json
import pickle
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

import modularnas as mn

export_module = importlib.import_module("modularnas.transform.export")
X = torch.randn(2, 3, 16, 16)


class Custom(nn.Module):
    """Parameters, persistent and other buffers directly on a module; functional calls; numbers of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3, 1, 1))
        self.frozen = nn.Parameter(torch.randn(1), requires_grad=False)
        self.register_buffer("shift", torch.randn(3, 1, 1), persistent=False)
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("missing", None)
        self.conv = nn.Conv2d(3, 4, 3)
        self.power = 2

    def forward(self, x):
        x = nn.functional.relu(self.conv(x * self.scale + self.shift)) * self.frozen**self.power
        n, c, _, _ = x.shape
        return nn.functional.interpolate(x, scale_factor=2.0).reshape(n, c, -1).mean(-1) + self.steps


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.block = nn.Linear(8, 8)
        self.again = self.block
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.again(self.block(self.embed(x)).tanh()))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm((5, 8))

    def forward(self, x):
        return self.norm(self.attention(x, x, x, need_weights=False)[0])


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 6, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(4, 2)})
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, left, right=None, *, flag=True):
        for layer in self.layers:
            left = layer(left)
        return {name: head(left) for name, head in self.heads.items()}, right if flag else None


class Annotated(nn.Module):
    """Annotations that are strings, as under `from __future__ import annotations`."""

    def forward(self, x: "torch.Tensor", factor: "float" = 2.0) -> "torch.Tensor":
        return x * factor


LAYERS = nn.Sequential(
    nn.BatchNorm2d(3, affine=False),
    nn.GroupNorm(3, 3, affine=False),
    nn.LayerNorm((16, 16), bias=False),
    nn.InstanceNorm2d(3),
    nn.PReLU(3),
    nn.LeakyReLU(0.2),
    nn.GELU("tanh"),
    nn.Dropout(0.1),
    nn.Upsample(scale_factor=2),
    nn.ConvTranspose2d(3, 4, 3, stride=(1, 2)),
    nn.Hardtanh(-2, 2),
    nn.ReflectionPad2d((1, 0, 1, 0)),
    nn.PixelShuffle(2),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.Conv2d(1, 2, (1, 3), padding="same", padding_mode="circular"),
    nn.AdaptiveAvgPool2d((1, None)),
    nn.Flatten(1, 2),
    nn.Softmax(-1),
)

NETS = {
    "custom": (Custom, X),
    "tied": (Tied, torch.arange(6).reshape(2, 3)),
    "attention": (Attention, torch.randn(2, 5, 8)),
    "recurrent": (Recurrent, torch.randn(2, 5, 8)),
    "several": (Several, (torch.randn(2, 4), torch.randn(2, 4))),
    "keywords": (Several, {"left": torch.randn(2, 4), "flag": False}),
    "annotated": (lambda: nn.Sequential(Annotated(), nn.Conv2d(3, 2, 3)), X),
    "layers": (lambda: LAYERS, X),
    "a layer alone": (lambda: nn.Conv2d(3, 2, 3), X),
    "float64": (lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).double(), X.double()),
    "bfloat16": (lambda: nn.Sequential(nn.Conv2d(3, 2, 3)).bfloat16(), X.bfloat16()),
}


def call(net, example):
    with torch.no_grad():
        if isinstance(example, dict):
            out = net(**example)
        else:
            out = net(*example) if isinstance(example, tuple) else net(example)
    return tree_leaves(out)


@pytest.fixture
def unproved(monkeypatch):
    """Leaves out the fresh process, which takes seconds; what it proves is proved here."""
    monkeypatch.setattr(export_module, "_prove", lambda *args: None)


@pytest.fixture
def proved_here(monkeypatch):
    """The proof in this process: what is not equal is not taken."""

    def prove(folder, case):
        again = mn.load_export(folder)
        found = [t for t in tree_leaves(again(*case.args, **case.kwargs)) if isinstance(t, torch.Tensor)]
        try:
            torch.testing.assert_close(found, case.out)
        except AssertionError as error:
            raise mn.ExportError(str(error)) from error

    monkeypatch.setattr(export_module, "_prove", prove)


def derived(ops):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
    supernet = mn.rewrite(net, [mn.rules.replace(nn.Conv2d, ops)], example=X)
    return mn.derive(supernet, supernet.space.sample(seed=0)).eval()


@pytest.mark.parametrize("name", NETS)
def test_networks_come_back_equal(name, tmp_path, unproved):
    make, example = NETS[name]
    net = make()
    with torch.no_grad():
        for buffer in net.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer))
    assert mn.export(net, tmp_path, example=example) == tmp_path
    assert net.training  # left as it was
    again = mn.load_export(tmp_path)
    assert not again.training
    torch.testing.assert_close(call(again, example), call(net.eval(), example))
    assert {k: v.dtype for k, v in again.state_dict().items()} == {k: v.dtype for k, v in net.state_dict().items()}
    torch.testing.assert_close(dict(again.state_dict()), dict(net.state_dict()), rtol=0, atol=0)
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in net.parameters()]


def test_ties_are_kept(tmp_path, unproved):
    mn.export(Tied(), tmp_path, example=torch.arange(6).reshape(2, 3))
    again = mn.load_export(tmp_path)
    assert again.again is again.block
    assert again.head.weight is again.embed.weight


@pytest.mark.parametrize("op", mn.ops.names("2d"))
def test_every_op_can_be_exported_and_pickled(op, tmp_path, unproved):
    net = derived([op])
    mn.export(net, tmp_path, example=X)
    for again in (mn.load_export(tmp_path), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(again(X), net(X))


class Everything(nn.Module):
    """Every op of the library side by side, on the inputs that it is for."""

    def __init__(self, nets):
        super().__init__()
        self.pictures, self.tokens, self.fields = (nn.ModuleDict(part) for part in nets)

    def forward(self, pictures, tokens, fields):
        out = [net(pictures) for net in self.pictures.values()]
        out += [net(tokens) for net in self.tokens.values()]
        return out + [net(fields) for net in self.fields.values()]


def test_every_op_comes_back_in_a_fresh_process_and_no_pickle_names_this_library(tmp_path):
    inputs = torch.randn(2, 4, 6, 6), torch.randn(2, 5, 4), torch.randn(2, 3, 4)
    slots = mn.Slot(4, 6, 2), mn.Slot(4, 8, layout="features"), mn.Slot(3, 6, layout="fields")
    nets = []
    for slot, x, kind in zip(slots, inputs, ("2d", "sequence", "fields"), strict=True):
        names = mn.ops.names(kind)
        supernet = mn.rewrite(nn.Sequential(slot), [mn.rules.slots(names)], example=x)
        nets.append({name: mn.derive(supernet, {"0.op": name}) for name in names})
    for part in nets:
        for name, net in part.items():
            assert b"modularnas" not in pickle.dumps(net.state_dict()) + pickle.dumps(net[0]), name
    net = Everything(nets).eval()
    mn.export(net, tmp_path, example=inputs)
    torch.testing.assert_close(mn.load_export(tmp_path)(*inputs), net(*inputs))


@pytest.mark.parametrize(("name", "size"), [("resnet18", 32), ("mobilenet_v2", 32), ("shufflenet_v2_x1_0", 32)])
def test_models_of_torchvision(name, size, tmp_path, unproved):
    model = getattr(pytest.importorskip("torchvision.models"), name)(num_classes=10)
    x = torch.randn(2, 3, size, size)
    supernet = mn.rewrite(model, [mn.rules.kernel_size(3, 5)], example=x)
    net = mn.derive(supernet, supernet.space.sample(seed=2)).eval()
    mn.export(net, tmp_path, example=x)
    torch.testing.assert_close(mn.load_export(tmp_path)(x), net(x), rtol=1e-4, atol=1e-5)


ALONE = """
import importlib.util, sys, torch
sys.modules["modularnas"] = sys.modules["safetensors"] = None
for folder in sys.argv[1:]:
    spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    case = torch.load(folder + "/case.pt")
    torch.testing.assert_close(model.load()(case["x"]), case["y"], rtol=1e-4, atol=1e-5)
"""


def test_a_fresh_process_with_torch_alone_loads_them(tmp_path, unproved):
    nets = {"none": derived(["none"]), "identity": derived(["identity"]), "custom": Custom().eval()}
    for name, net in nets.items():
        mn.export(net, tmp_path / name, example=X)
        torch.save({"x": X, "y": net(X).detach()}, tmp_path / name / "case.pt")
    subprocess.run([sys.executable, "-c", ALONE, *(str(tmp_path / name) for name in nets)], check=True)


def test_export_proves_what_it_writes(tmp_path):
    mn.export(derived(["identity"]), tmp_path / "new" / "folder", example=X)
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["architecture.json", "model.py", "weights.safetensors"]


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand(())


def test_a_network_that_does_not_come_back_equal_is_refused(tmp_path):
    with pytest.raises(mn.ExportError) as found:
        mn.export(Noisy(), tmp_path, example=X)
    text = str(found.value)
    assert text.startswith("the exported network did not come back equal in a fresh process:\n")
    assert "Tensor-likes are not close!" in text
    assert not list(tmp_path.iterdir())


def test_architecture_says_which_point_it_is(tmp_path, unproved):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=X)
    mn.export(mn.derive(supernet, {"0.kernel_size": 5}), tmp_path / "derived", example=X)
    mn.export(net, tmp_path / "plain", example=X)
    versions = {"modularnas": mn.__version__, "torch": torch.__version__}
    assert json.loads((tmp_path / "derived" / "architecture.json").read_text()) == {
        "format": 1,
        "form": "source",
        "point": {"0.kernel_size": 5},
        "space": supernet.space.fingerprint,
        "cost": {"params": 304, "macs": 2 * 300 * 256, "activation_bytes": 2 * 2 * 4 * 256 * 4},
        "n_params": 304,
        "versions": versions,
    } | {"cost": supernet.cost({"0.kernel_size": 5})}
    assert json.loads((tmp_path / "plain" / "architecture.json").read_text()) == {
        "format": 1,
        "form": "source",
        "point": None,
        "space": None,
        "cost": None,
        "n_params": 112,
        "versions": versions,
    }


def test_the_source_is_readable(tmp_path, unproved):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x):
            return self.norm(x).mean((2, 3))

    mn.export(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), Head(), nn.Linear(4, 2)), tmp_path, example=X)
    source = (tmp_path / "model.py").read_text()
    assert "class Head(Block):" in source
    assert "    return nn.Sequential(\n        nn.Conv2d(3, 4, 3, bias=False),\n        Head(\n" in source
    assert "modularnas" not in source.split('"""')[2]


def test_exporting_again_replaces(tmp_path, unproved):
    mn.export(nn.Linear(3, 2), tmp_path, example=torch.randn(1, 3))
    (tmp_path / "mine.txt").write_text("kept")
    second = nn.Linear(3, 4)
    mn.export(second, tmp_path, example=torch.randn(1, 3))
    assert torch.equal(mn.load_export(tmp_path).weight, second.weight)
    assert (tmp_path / "mine.txt").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 4


class Branching(nn.Module):
    """Control flow on values: no trace can see it."""

    def forward(self, x):
        return x if self.wanted(x) else -x

    def wanted(self, x: "torch.Tensor") -> bool:
        return bool(x.sum() > LIMIT)


LIMIT = 0.5


class Elsewhere(nn.Module):
    def forward(self, x):
        return not_of_torch(x)


def not_of_torch(x, times=LIMIT):
    """A function that torch.fx keeps as a call."""
    return functional.relu(x) * times + _added(x)


def _added(x):
    return x.mean() if x.dim() > 1 else 1


torch.fx.wrap("not_of_torch")


class Noise(nn.Module):
    """It does something only while training."""

    def __init__(self):
        super().__init__()
        self.drop = 0.5

    def forward(self, x):
        return functional.dropout(x, self.drop, training=self.training)


class Listing(nn.Module):
    """It takes a tensor or a list; a trace would believe that no argument is a list."""

    def forward(self, x):
        if not isinstance(x, list):
            return [x, x]
        return x[0] + x[1]


class Bias(nn.Module):
    """A method that its parent calls, and a constant too large to be read in a source."""

    def __init__(self):
        super().__init__()
        self.register_buffer("index", torch.arange(256).flip(0), persistent=False)
        self.table = nn.Parameter(torch.randn(256))

    def get_bias(self):
        return self.table[self.index].reshape(16, 16)

    def forward(self, x):
        return x + self.get_bias()


class Biased(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = Bias()

    def forward(self, x):
        return functional.dropout(x + self.bias.get_bias(), 0.5, self.training)


class Padded(nn.Conv2d):
    """A layer of torch's with a forward of its own that calls that of its class."""

    def forward(self, x):
        if x.shape[-1] > 4 and x.sum() < 1e9:
            x = functional.pad(x, (1, 1, 1, 1))
        return super().forward(x)


def closing(factor):
    class Closing(nn.Module):
        """It has no source without the variable that it closes over."""

        def forward(self, x):
            return {"scaled": x * factor, "none": None} if x.dim() == 4 else None

    return Closing()


COPIED = {
    "branching": (nn.Sequential(nn.ReLU(), Branching()), X),
    "elsewhere": (nn.Sequential(Elsewhere()), X),
    "noise": (Noise(), X),
    "listing": (nn.Sequential(Listing(), Listing()), X),
    "biased": (Biased(), X),
    "padded": (Padded(3, 4, 3), X),
    "encoder layer": (nn.TransformerEncoderLayer(16, 2, batch_first=True), X[:, 0]),
    "transformer": (nn.Transformer(16, 2, 1, 1, 32, batch_first=True), (X[:, 0], X[:, 1])),
}


class ManyHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_fewer_heads_come_back_as_source(heads, tmp_path, proved_here):
    x = torch.randn(2, 5, 16)
    supernet = mn.rewrite(ManyHeads(), [mn.rules.heads(1, 2, 4)], example=x)
    net = mn.derive(supernet, {"attention.heads": heads}).eval()
    mn.export(net, tmp_path, example=x)
    assert json.loads((tmp_path / "architecture.json").read_text())["form"] == "source"
    torch.testing.assert_close(mn.load_export(tmp_path)(x), net(x))


@pytest.mark.parametrize("name", COPIED)
def test_what_no_trace_can_see_is_copied(name, tmp_path, proved_here):
    net, example = COPIED[name]
    mn.export(net, tmp_path, example=example)
    assert json.loads((tmp_path / "architecture.json").read_text())["form"] == "source"
    again = mn.load_export(tmp_path)
    torch.testing.assert_close(call(again, example), call(net.eval(), example))
    torch.testing.assert_close(dict(again.state_dict()), dict(net.state_dict()), rtol=0, atol=0)


def test_copied_source_still_branches_and_trains(tmp_path, unproved):
    mn.export(nn.Sequential(Branching(), Noise()), tmp_path, example=X)
    again = mn.load_export(tmp_path)
    assert torch.equal(again(-X.abs()), X.abs())
    assert (again.train()(X.abs() + 1) == 0).any()
    source = (tmp_path / "model.py").read_text()
    assert "class Branching(Block):\n    def forward(self, x):\n        return x if self.wanted(x) else -x\n" in source
    assert "Noise(\n            drop=0.5,\n" in source


def test_large_constants_stand_beside_the_weights(tmp_path, unproved):
    mn.export(Biased(), tmp_path, example=X)
    source = (tmp_path / "model.py").read_text()
    assert "index=nn.Buffer(torch.empty((256,), dtype=torch.int64), persistent=False)" in source
    assert torch.equal(mn.load_export(tmp_path).bias.index, Biased().bias.index)


def test_what_has_no_source_becomes_a_program(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), closing(3))
    mn.export(net, tmp_path, example=X[:1])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "architecture.json",
        "model.py",
        "program.pt2",
        "weights.safetensors",
    ]
    architecture = json.loads((tmp_path / "architecture.json").read_text())
    assert architecture["form"] == "program"
    assert "'1' (Closing) cannot be written as plain source" in architecture["no_source"]
    again = mn.load_export(tmp_path)
    torch.testing.assert_close(again(X).scaled, net(X)["scaled"])  # with another batch than the example's
    torch.testing.assert_close(dict(again.state_dict()), dict(net.state_dict()), rtol=0, atol=0)
    assert not again.training


def test_a_program_can_be_asked_for(tmp_path, proved_here):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    mn.export(net, tmp_path, example=X, form="program")
    torch.testing.assert_close(mn.load_export(tmp_path)(X[:1]), net(X[:1]))
    mn.export(net, tmp_path, example=X)  # nothing of the program is left
    assert not (tmp_path / "program.pt2").exists()


def test_other_formats(tmp_path, unproved):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    mn.export(net, tmp_path, example=X, formats=("onnx", "torch"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = torch.export.load(tmp_path / "program.pt2").module()
    torch.testing.assert_close(again(X), net(X))
    assert (tmp_path / "model.onnx").stat().st_size > 0


def test_a_program_of_torch_alone(tmp_path, unproved):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    mn.export(net, tmp_path, example=X, formats="torch")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["architecture.json", "model.py", "program.pt2", "weights.safetensors"]


def test_without_onnx_the_extra_is_named(tmp_path, unproved, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(mn.MissingExtraError) as found:
        mn.export(nn.Linear(3, 2), tmp_path, example=torch.randn(2, 3), formats=("onnx",))
    assert str(found.value) == 'export to ONNX needs onnx and onnxscript: pip install "modularnas[onnx]"'


@pytest.mark.parametrize(
    ("net", "options", "text"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), closing(2)),
            {"form": "source"},
            "'1' (Closing) cannot be written as plain source: it cannot be copied, "
            f"{__name__}.closing.<locals>.Closing.forward closes over variables; torch.fx cannot trace it, TraceError: "
            "symbolically traced variables cannot be used as inputs to control flow",
        ),
        (
            nn.Conv2d(4, 2, 3),
            {},
            "the network does not run on the example: RuntimeError: Given groups=1, weight of size [2, 4, 3, 3], "
            "expected input[2, 3, 16, 16] to have 4 channels, but got 3 channels instead",
        ),
        (3, {}, "export is given a int; expected a torch.nn.Module"),
        (nn.ReLU(), {"form": "text"}, "export is given form='text'; expected 'source', 'program' or None"),
        (nn.ReLU(), {"formats": ["caffe"]}, "export is given formats=('caffe',); expected 'onnx', 'torch' or both"),
    ],
)
def test_what_cannot_be_written(net, options, text, tmp_path):
    with pytest.raises(mn.ExportError) as found:
        mn.export(net, tmp_path / "out", example=X, **options)
    assert str(found.value) == text
    assert not list(tmp_path.iterdir())


def test_a_supernet_must_be_derived_first(tmp_path):
    supernet = mn.rewrite(nn.Conv2d(3, 4, 3, padding=1), [mn.rules.kernel_size(3, 5)], example=X)
    with pytest.raises(mn.ExportError) as found:
        mn.export(supernet, tmp_path, example=X)
    assert str(found.value) == (
        "export is given a supernet; derive the network of a point first: mn.derive(supernet, point)"
    )


def test_a_folder_without_an_export(tmp_path):
    with pytest.raises(mn.ExportError) as found:
        mn.load_export(tmp_path)
    assert str(found.value) == f"'{tmp_path}' has no model.py; expected a folder written by mn.export"


def test_loaded_networks_can_be_pickled_and_trained(tmp_path, unproved):
    net = derived(["identity"])
    mn.export(net, tmp_path, example=X)
    loaded = mn.load_export(tmp_path)
    again = pickle.loads(pickle.dumps(loaded))
    torch.testing.assert_close(again(X), net(X))
    loaded.train()(X).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_loaded_networks_with_their_own_classes_can_be_pickled(tmp_path, unproved):
    first, second = Custom().eval(), Attention().eval()
    mn.export(first, tmp_path / "a", example=X)
    mn.export(second, tmp_path / "b", example=torch.randn(2, 5, 8))
    loaded = mn.load_export(tmp_path / "a"), mn.load_export(tmp_path / "b")
    for net, again, x in zip((first, second), loaded, (X, torch.randn(2, 5, 8)), strict=True):
        torch.testing.assert_close(pickle.loads(pickle.dumps(again))(x), net(x))
