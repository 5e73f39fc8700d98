"""Torch's `nn.MultiheadAttention` with fewer heads than its width has room for.

Torch ties the number of heads to the width of the model: heads times their size is the width. Without some heads the
maps to queries, keys and values are narrower, which its function refuses; here is the same computation (Vaswani et al.
2017, arXiv 1706.03762, section 3.2.2) on whatever heads the weights have. A module of torch's becomes one of these by
a change of its class: it keeps its parameters, and its first heads keep what they compute.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FewerHeads"]


class FewerHeads(nn.Module):
    """What is left of an `nn.MultiheadAttention`; called like one, on batches.

    Attributes:
        num_heads: how many heads its weights have.
        head_dim: features of a head.
        called: the arguments that are no tensors, by name; None stands for masks that are not given.
        boolean: whether a mask that `torch.fx` stands for is a boolean one.
    """

    num_heads: int
    head_dim: int
    batch_first: bool
    dropout: float
    in_proj_weight: Tensor | None
    in_proj_bias: Tensor | None
    out_proj: nn.Linear
    called: dict[str, Any]
    boolean: bool

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Shapes and meaning as torch's; `(N, L, E)` if `batch_first`, else `(L, N, E)`."""
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (FewerHeads._split(self, x, i) for i, x in enumerate((query, key, value)))
        mask = _added(attn_mask, q, self.boolean)
        if key_padding_mask is not None:
            padding = _added(key_padding_mask[:, None, None, :], q, self.boolean)
            mask = padding if mask is None else mask + padding
        p = self.dropout * self.training
        shares = None
        if need_weights:
            scores = q * self.head_dim**-0.5 @ k.transpose(-2, -1)  # (N, heads, L, S)
            shares = F.dropout((scores if mask is None else scores + mask).softmax(-1), p)
            out = shares @ v
            shares = shares.mean(1) if average_attn_weights else shares
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, p)
        # As torch does, not by a call: what is counted is the same.
        out = F.linear(out.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
        return out if self.batch_first else out.transpose(0, 1), shares

    def _split(self, x: Tensor, which: int) -> Tensor:
        """Queries, keys or values: `(N, L, E)` to `(N, heads, L, head_dim)`."""
        weight: Any
        if self.in_proj_weight is None:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[which]
        else:
            weight = self.in_proj_weight.chunk(3)[which]
        bias = None if self.in_proj_bias is None else self.in_proj_bias.chunk(3)[which]
        made: Tensor = F.linear(x, weight, bias)
        heads: Tensor = made.unflatten(-1, (self.num_heads, self.head_dim))
        return heads.transpose(1, 2)


def _added(mask: Any, like: Tensor, boolean: bool) -> Any:
    """A mask as what is added to scores; of a boolean one, True is what must not be seen."""
    if mask is None or not (mask.dtype == torch.bool if isinstance(mask, Tensor) else boolean):
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
