"""The Jacobian of the summed outputs with respect to every input of a batch; `jacob_cov` and `epe_nas` look at it."""

import torch
from torch import Tensor

from modularnas.evaluate.zero_cost.proxy import Probe

__all__ = ["correlations", "jacobian"]


def jacobian(probe: Probe) -> Tensor:
    """Rows (N, inputs): the gradient of the sum of all outputs of each input."""
    x = probe.x.clone().requires_grad_()
    (rows,) = torch.autograd.grad(probe.net(x).sum(), x)
    return rows.flatten(1).double()


def correlations(rows: Tensor) -> Tensor:
    """Pearson's correlations between rows (n, columns); a constant row correlates with none."""
    centred = rows - rows.mean(1, keepdim=True)
    scaled = torch.nn.functional.normalize(centred, dim=1)
    return scaled @ scaled.T
