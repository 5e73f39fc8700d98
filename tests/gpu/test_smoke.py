"""The wheel loads beside this machine's torch, and the device computes."""

import importlib.metadata

import torch

import modularnas as mn


def test_wheel_loads_and_device_computes(device, record_property):
    assert mn.__version__ == importlib.metadata.version("modularnas")
    x = torch.arange(4.0, device=device)
    assert (x @ x).item() == 14.0
    record_property("device", device.type)
