"""How differently channels see one input: the least eigenvalue of correlations of feature maps, over layers.

Jiang et al. 2023, "MeCo: Zero-Shot NAS with One Data and Single Forward Pass via Minimum Eigenvalue of Correlation"
(NeurIPS 2023), the definition of MeCo: sum over layers of the least eigenvalue of the Pearson correlation matrix
(channels x channels) of the layer's output. As in the paper's code, one random input serves, and what is not a number
counts nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn

from modularnas.evaluate.zero_cost.jacobian import correlations
from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["meco"]


@register("meco")
def meco(probe: Probe) -> float:
    """Sum over layers of the least eigenvalue of the correlations between channels; needs no data but its shape."""
    found: list[float] = []

    def look(layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim > 2 and output.is_floating_point():
            maps = output[0].reshape(output.shape[1], -1)
            values = torch.linalg.eigvalsh(correlations(maps.double()))
            found.append(values[0].item())

    for layer in probe.net.modules():
        if not list(layer.children()):
            layer.register_forward_hook(look)
    with torch.no_grad():
        probe.net(torch.randn_like(probe.x))  # the whole batch, for the batch norms; the first input is looked at
    return sum(found)
