"""`initialise`: first weights for trainings of a few hundred steps."""

from __future__ import annotations

from torch import nn

from modularnas.ops.residual import Residual

__all__ = ["initialise"]


def initialise(net: nn.Module) -> None:
    """Draws the convolutions of a network or a supernet as their authors did; residual blocks begin as their shortcut.

    Normal by the fan-out (He et al. 2015, arXiv 1502.01852, section 2.2), where torch's uniform is narrower; and the
    scale of a residual branch's last norm is 0 (Goyal et al. 2017, arXiv 1706.02677, section 5.1), so that a deep
    network begins as a shallow one. In place, from torch's generator.

    Example:
        >>> supernet, x = mn.spaces.create("resnet", num_classes=10, image_size=16, depth=20)
        >>> mn.ops.initialise(supernet)
        >>> float(supernet.get_submodule("model.1.0.0.branch.4").weight.detach().abs().sum())
        0.0
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, Residual):
            layers = [m for m in module.branch.children() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
            if layers and isinstance(layers[-1], nn.BatchNorm2d) and layers[-1].affine:
                nn.init.zeros_(layers[-1].weight)
