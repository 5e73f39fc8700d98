"""Drop-path: in training, a path of a cell or a residual branch is left out for some examples of the batch.

Larsson, Maire and Shakhnarovich 2016, FractalNet, arXiv 1605.07648, section 3; as in the networks of NASNet (arXiv
1707.07012, appendix A.7, "scheduled" when the rate grows) and DARTS (arXiv 1806.09055): by example, and what stays is
divided by its probability. P-DARTS (arXiv 1904.12760, section 3.3) puts it behind skip connections during the search.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["DropPath", "drop_path"]


def drop_path(x: Tensor, rate: float) -> Tensor:
    """Zero for some examples, the others divided by the probability to stay: `(N, …)`."""
    if rate == 0:
        return x
    stay = x.new_empty(x.shape[0], *(1,) * (x.dim() - 1)).bernoulli_(1 - rate)
    return x * stay / (1 - rate)


class DropPath(nn.Module):
    """Leaves its input out for some examples of a batch, in train mode.

    Args:
        rate: the probability, from 0 to below 1; it may be changed at any time.

    Example:
        >>> from modularnas.nn.relax import DropPath
        >>> sorted(set(DropPath(0.5)(torch.ones(100, 3)).flatten().tolist()))
        [0.0, 2.0]
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate is {rate}; expected 0 or more and below 1")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as given: `(N, …)`."""
        return drop_path(x, self.rate) if self.training else x

    def extra_repr(self) -> str:
        """The rate."""
        return f"rate={self.rate}"
