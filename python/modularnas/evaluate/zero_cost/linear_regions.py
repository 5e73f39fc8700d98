"""How finely a network cuts its input space: the number of linear regions that random inputs fall into.

Chen, Gong and Wang 2021, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired
Perspective" (TE-NAS; arXiv 2102.11535), section 3.1.2: the number of different activation codes. As in the paper's
code, inputs are small Gaussian noise images, so that a batch of any data does not separate them by itself.
"""

import torch

from modularnas.evaluate.zero_cost.activations import codes
from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["linear_regions"]

_N_INPUTS = 1000
_SIDE = 3


@register("linear_regions")
def linear_regions(probe: Probe) -> float:
    """The number of different activation codes of random inputs; needs no data but its shape."""
    shape = probe.x.shape[1:]
    # TE-NAS: images of 3 channels and 3 x 3 pixels, of which a thousand cost as little as one.
    small = shape if len(shape) < 3 else (shape[0], *[min(_SIDE, side) for side in shape[1:]])
    try:
        rows = _rows(probe, torch.randn(_N_INPUTS, *small, device=probe.x.device))
    except RuntimeError:  # a network that needs its own size, such as one that flattens
        rows = _rows(probe, torch.randn(min(_N_INPUTS, 8 * len(probe.x)), *shape, device=probe.x.device))
    return float(len(rows.unique(dim=0)))


def _rows(probe: Probe, x: torch.Tensor) -> torch.Tensor:
    return torch.cat(codes(probe, x), 1)
