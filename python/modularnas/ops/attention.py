"""Self-attention: `attention_h4` on `(N, L, D)` and its variants, `mhsa_h4` on pictures, `transformer_h4_e4`.

- `attention_h4`: four heads (Vaswani et al. 2017, arXiv 1706.03762, equation 1 and section 3.2.2). `_kv1` shares keys
  and values among heads (one: Shazeer 2019, arXiv 1911.02150; some: Ainslie et al. 2023, arXiv 2305.13245). `_w8`
  looks no further than 8 positions to either side (Beltagy, Peters and Cohan 2020, arXiv 2004.05150, section 3.1),
  computed as a mask of the whole, so it saves no work. `_causal` looks at no later position.
- `linear_attention_h4`: the softmax replaced by elu(q) + 1 and elu(k) + 1, so that the work is linear in the length
  (Katharopoulos et al. 2020, arXiv 2006.16236, equations 5 and 7).
- `mhsa_h4`: the same as `attention` over the positions of a picture, without position encodings (Srinivas et al. 2021,
  arXiv 2101.11605, figure 4, theirs are relative). It takes (H W)^2 products.
- `transformer_h4_e4`: attention and a feed-forward network, each after a layer norm and added to its input ("pre-LN",
  Xiong et al. 2020, arXiv 2002.04745, figure 1b), GELU.

The products are written out rather than left to torch's fused kernel, whose work no counter sees on a CPU: costs are
exact. There are no masks for padding and no dropout. Where the number of features changes, `attention` and
`linear_attention` change it in their last map, the others after the identity's projection.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modularnas.errors import RuleError
from modularnas.ops import dims
from modularnas.ops.feed_forward import feed_forward
from modularnas.ops.identity import fit
from modularnas.ops.registry import SPATIAL, register
from modularnas.ops.residual import Residual
from modularnas.ops.slot import Slot

__all__ = ["LinearAttention", "PositionAttention", "SelfAttention"]


class _Heads(nn.Module):
    """Queries, keys and values of some heads, and the map of what they give."""

    def __init__(self, in_features: int, out_features: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        if in_features % heads:
            raise RuleError(f"{in_features} features cannot be split among {heads} heads")
        if heads % kv_heads:
            raise RuleError(f"{heads} heads cannot share {kv_heads} keys and values; expected a divisor")
        self.heads = heads
        self.kv_heads = kv_heads
        size = in_features // heads
        self.query = nn.Linear(in_features, in_features)
        self.key = nn.Linear(in_features, kv_heads * size)
        self.value = nn.Linear(in_features, kv_heads * size)
        self.project = nn.Linear(in_features, out_features)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values: `(N, heads, L, size)` each."""
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key = self.key(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        value = self.value(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        if self.kv_heads < self.heads:
            key = key.repeat_interleave(self.heads // self.kv_heads, dim=1)
            value = value.repeat_interleave(self.heads // self.kv_heads, dim=1)
        return query, key, value

    def _join(self, heads: Tensor) -> Tensor:
        out: Tensor = self.project(heads.transpose(1, 2).flatten(2))
        return out


class SelfAttention(_Heads):
    """Softmax attention of a sequence to itself: `(N, L, in)` to `(N, L, out)`.

    Args:
        in_features: features of the input, a multiple of `heads`.
        out_features: features of the output.
        heads: number of heads.
        kv_heads: number of keys and values, a divisor of `heads`; None: as many.
        window: how far to look to either side; None: everywhere.
        causal: whether to look at no later position.

    Raises:
        RuleError: if the numbers do not divide.

    Example:
        >>> from modularnas.ops.attention import SelfAttention
        >>> SelfAttention(8, 12, heads=4, kv_heads=1)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 12])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        heads: int,
        kv_heads: int | None = None,
        window: int | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__(in_features, out_features, heads, kv_heads or heads)
        self.window = window
        self.causal = causal
        self.scale = (in_features // heads) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        query, key, value = self._split(x)
        scores = (query * self.scale) @ key.transpose(-2, -1)  # (N, heads, L, L)
        if self.causal or self.window is not None:
            seen = torch.ones_like(scores)
            seen = seen.tril() if self.causal else seen
            seen = seen.tril(self.window).triu(-self.window) if self.window is not None else seen
            scores = scores.masked_fill(seen == 0, float("-inf"))
        return self._join(scores.softmax(-1) @ value)


class LinearAttention(_Heads):
    """Attention with a kernel in the place of the softmax, linear in the length: `(N, L, in)` to `(N, L, out)`.

    Args:
        in_features: features of the input, a multiple of `heads`.
        out_features: features of the output.
        heads: number of heads.

    Raises:
        RuleError: if the numbers do not divide.

    Example:
        >>> from modularnas.ops.attention import LinearAttention
        >>> LinearAttention(8, 12, heads=4)(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 12])
    """

    def __init__(self, in_features: int, out_features: int, heads: int) -> None:
        super().__init__(in_features, out_features, heads, heads)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        query, key, value = self._split(x)
        query, key = nn.functional.elu(query) + 1, nn.functional.elu(key) + 1
        total = (query * key.sum(-2, keepdim=True)).sum(-1, keepdim=True)
        return self._join((query @ (key.transpose(-2, -1) @ value)) / total)


class PositionAttention(nn.Module):
    """Self-attention over the positions of a picture: `(N, C, …)` to `(N, C, …)`.

    Args:
        attention: a module from `(N, L, C)` to `(N, L, C)`.

    Example:
        >>> from modularnas.ops.attention import PositionAttention
        >>> PositionAttention(nn.Identity())(torch.ones(1, 2, 3, 4)).shape
        torch.Size([1, 2, 3, 4])
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        out: Tensor = self.attention(x.flatten(2).transpose(1, 2))
        return out.transpose(1, 2).reshape(x.shape)


@register(
    "attention_h{heads}[_kv{kv_heads}][_w{window}][_causal]",
    names=["attention_h1", "attention_h4", "attention_h4_kv1", "attention_h4_w2", "attention_h4_causal"],
    inputs=("sequence",),
)
def attention(
    slot: Slot, heads: int, kv_heads: int | None = None, window: int | None = None, causal: bool = False
) -> nn.Module:
    """Self-attention, heads {heads}."""
    inside, outside = dims.sequence(slot)
    return SelfAttention(inside, outside, heads, kv_heads, window, causal)


@register("linear_attention_h{heads}", names=["linear_attention_h4"], inputs=("sequence",))
def linear_attention(slot: Slot, heads: int) -> nn.Module:
    """Linear self-attention, heads {heads}."""
    inside, outside = dims.sequence(slot)
    return LinearAttention(inside, outside, heads)


@register("mhsa_h{heads}", names=["mhsa_h1", "mhsa_h2"], inputs=SPATIAL)
def mhsa(slot: Slot, heads: int) -> nn.Module:
    """Self-attention over all positions, heads {heads}."""
    channels = slot.out_channels
    return fit(slot, PositionAttention(SelfAttention(channels, channels, heads)))


@register("transformer_h{heads}_e{e}", names=["transformer_h4_e4"], inputs=("sequence",))
def transformer(slot: Slot, heads: int, e: int) -> nn.Module:
    """Transformer block, heads {heads}, expansion {e}."""
    _, features = dims.sequence(slot)
    attend = nn.Sequential(nn.LayerNorm(features), SelfAttention(features, features, heads))
    feed = nn.Sequential(nn.LayerNorm(features), feed_forward(features, features, e))
    return fit(slot, nn.Sequential(Residual(attend), Residual(feed)))
