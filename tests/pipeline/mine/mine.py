"""A user's own model and stage, beside a pipeline."""

from torch import nn


def small_net(channels=8):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, stride=2),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, padding=1, stride=2),
        nn.BatchNorm2d(2 * channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * channels, 10),
    )


def verdict(searched, given, folder):
    folder.joinpath("verdict.txt").write_text(f"{searched} against {given}\n")
    return {"better": searched >= given, "text": folder / "verdict.txt"}
