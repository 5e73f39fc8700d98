"""How much the loss feels the removal of each channel: Fisher information of a mask on every layer's output.

Turner et al. 2020, "BlockSwap: Fisher-guided Block Substitution for Network Compression on a Budget" (arXiv
1906.04113), section 3, and Theis et al. 2018 (arXiv 1801.05787): per channel half the mean over the N inputs of the
squared sum over positions of activation times gradient. Summed over layers as in Abdelfattah et al. 2021 (arXiv
2101.08134), equation 2; layers are convolutions and linear layers, whose outputs carry the mask.
"""

from typing import Any

import torch
from torch import Tensor, nn

from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["fisher"]

_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


@register("fisher")
def fisher(probe: Probe) -> float:
    """Sum over channels of the Fisher information of their mask."""
    outputs: list[tuple[nn.Module, Tensor]] = []

    def keep(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        outputs.append((layer, output))
        return output.view_as(output)  # an in-place activation after it must not change what is kept

    for layer in probe.net.modules():
        if isinstance(layer, _LAYERS):
            layer.register_forward_hook(keep)
    n = len(probe.x)
    loss = probe.batch_loss()
    found = torch.autograd.grad(loss, [output for _, output in outputs], allow_unused=True, materialize_grads=True)
    total = 0.0
    for (layer, output), gradient in zip(outputs, found, strict=True):
        # (N, channels, positions), also of a linear layer on (N, ..., features).
        last = isinstance(layer, nn.Linear)
        mask = (
            (output.detach() * gradient).movedim(-1 if last else 1, 1).reshape(n, output.shape[-1 if last else 1], -1)
        )
        total += 0.5 * mask.sum(2).square().mean(0).sum().item()
    return total
