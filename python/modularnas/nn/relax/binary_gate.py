"""Binary gates of ProxylessNAS: one candidate runs; a second one only when the architecture learns.

Cai, Zhu and Han 2018, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", arXiv 1812.00332,
section 3.2. With two paths, two candidates are drawn by their probabilities without replacement, one of the two by
their rescaled probabilities is active, and the gradient of equation 4 counts these two: dL/dalpha_i = sum_j dL/dg_j p_j
(delta_ij - p_i), p being rescaled to the two and dL/dg_j the product of the output's gradient with candidate j's
output. With one path there is no gradient of the gates: weights are trained, or the architecture by REINFORCE
(section 3.3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from modularnas.nn.relax.relaxation import Gates, Relaxation, draw, straight_through

__all__ = ["BinaryGate"]


class BinaryGate(Relaxation):
    """One candidate drawn from softmax(alpha), with the gradient of two.

    Args:
        temperature: divides alpha.
        paths: 1: no gradient of alpha; 2 (or more): so many candidates tell it.
    """

    name = "binary_gate"
    n_paths = 1

    def __init__(self, temperature: float = 1.0, paths: int = 2) -> None:
        super().__init__(temperature)
        if not isinstance(paths, int) or paths < 1:
            raise ValueError(f"paths is {paths!r}; expected 1 (no gradient of alpha) or 2")
        self.paths = paths

    def probabilities(self, logits: Tensor) -> Tensor:
        """As in `Relaxation`."""
        return torch.softmax(logits / self.temperature, -1)

    def choices(self, logits: Tensor) -> Tensor:
        """The probabilities by which candidates are drawn, `(n, K)`."""
        return self.probabilities(logits)

    def gates(self, logits: Tensor, generator: torch.Generator | None) -> Gates:
        """As in `Relaxation`."""
        if self.paths == 1 or generator is None:
            return Gates(None, draw(self.choices(logits), 1, generator))
        sampled = torch.tensor(draw(self.choices(logits), self.paths, generator), device=logits.device)
        soft = torch.softmax(logits.gather(-1, sampled) / self.temperature, -1)
        among = self.choices(logits).detach().gather(-1, sampled)
        active = torch.tensor(draw(among / among.sum(-1, keepdim=True), 1, generator), device=logits.device)
        value = torch.zeros_like(soft).scatter_(-1, active, 1.0)
        weights = torch.zeros_like(logits).scatter(-1, sampled, straight_through(value, soft))
        paths: list[list[int]] = sampled.gather(-1, active).tolist()
        watched = [
            [code for code in codes if code != path[0]] for codes, path in zip(sampled.tolist(), paths, strict=True)
        ]
        return Gates(weights, paths, watched)
