"""Feed-forward networks of transformers: `ffn_e4`, and gated ones, `swiglu_e4`, `geglu_e4`, `reglu_e4`, `glu_e4`.

`ffn`: linear to e times the features, activation, linear back (Vaswani et al. 2017, arXiv 1706.03762, equation 2);
GELU unless named. The gated ones multiply an activated linear map by another one (Shazeer 2020, arXiv 2002.05202,
equations 5 and 6); `bilinear` has no activation. They have no biases, and two thirds of the width, so that a gated and
a plain one of the same e cost the same (section 2). The work is on each position alone: `(N, …, in)` to `(N, …,
out)`. No shortcut and no norm: `transformer_h4_e4` is the whole block.
"""

from __future__ import annotations

from torch import Tensor, nn

from modularnas.ops import dims
from modularnas.ops.activation import ACTIVATIONS
from modularnas.ops.registry import FEATURES, register
from modularnas.ops.slot import Slot

__all__ = ["GatedFeedForward", "feed_forward"]

_GATES: dict[str, type[nn.Module]] = {
    "bilinear": nn.Identity,
    "geglu": nn.GELU,
    "glu": nn.Sigmoid,
    "reglu": nn.ReLU,
    "swiglu": nn.SiLU,
}


class GatedFeedForward(nn.Module):
    """`project(activation(gate(x)) * up(x))`: `(N, …, in)` to `(N, …, out)`.

    Args:
        in_features: features of the input.
        hidden: features inside.
        out_features: features of the output.
        activation: of the gate.

    Example:
        >>> from modularnas.ops.feed_forward import GatedFeedForward
        >>> GatedFeedForward(8, 16, 8, nn.SiLU())(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, in_features: int, hidden: int, out_features: int, activation: nn.Module) -> None:
        super().__init__()
        self.gate = nn.Linear(in_features, hidden, bias=False)
        self.up = nn.Linear(in_features, hidden, bias=False)
        self.activation = activation
        self.project = nn.Linear(hidden, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        out: Tensor = self.project(self.activation(self.gate(x)) * self.up(x))
        return out


def feed_forward(inside: int, outside: int, e: int, activation: type[nn.Module] = nn.GELU) -> nn.Sequential:
    """Linear, activation, linear; `e` times the input's features inside."""
    return nn.Sequential(nn.Linear(inside, e * inside), activation(), nn.Linear(e * inside, outside))


@register("ffn_e{e}[_{act:relu|gelu|silu}]", names=["ffn_e1", "ffn_e2", "ffn_e4", "ffn_e4_relu"], inputs=FEATURES)
def ffn(slot: Slot, e: int, act: str = "gelu") -> nn.Module:
    """Feed-forward network, expansion {e}, {act}."""
    return feed_forward(*dims.features(slot), e, ACTIVATIONS[act])


@register("{gate:bilinear|geglu|glu|reglu|swiglu}_e{e}", names=[f"{gate}_e4" for gate in _GATES], inputs=FEATURES)
def gated(slot: Slot, gate: str, e: int) -> nn.Module:
    """Gated feed-forward network ({gate}), expansion {e}."""
    inside, outside = dims.features(slot)
    return GatedFeedForward(inside, max(1, round(2 * e * inside / 3)), outside, _GATES[gate]())
