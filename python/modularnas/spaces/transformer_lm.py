"""`transformer_lm`: depth, heads and hidden features of a causal language model.

The transformer of GPT-2 (Radford et al. 2019; norms before attention and feed-forward networks, GELU, learned
positions, the embedding also as the last map), of which the number of layers, and for every layer the heads and the
hidden features vary and share weights: the decisions of HAT (Wang et al. 2020, arXiv 2005.14187, section 3.1) without
the widths of its embeddings. `network(768, 12, 4, 12)` is GPT-2 small: 124.4 M parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modularnas.spaces.registry import Parts, register
from modularnas.spaces.vit import Attention, Layer, open_heads
from modularnas.transform import rules

__all__ = ["LanguageModel", "create", "network"]


class LanguageModel(nn.Module):
    """Tokens `(N, L)` to logits of the next token at each position `(N, L, vocabulary)`."""

    positions: Tensor

    def __init__(self, vocabulary: int, length: int, features: int, layers: nn.Module) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, features)
        self.place = nn.Embedding(length, features)
        self.layers = layers
        self.norm = nn.LayerNorm(features)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.place.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes as in the class; at most `length` positions."""
        x = self.tokens(tokens) + self.place.weight[: tokens.shape[1]]
        out: Tensor = self.norm(self.layers(x)) @ self.tokens.weight.T
        return out


def network(
    features: int, heads: int, ratio: float, depth: int, vocabulary: int = 50257, length: int = 1024
) -> nn.Module:
    """A language model; hidden features of the feed-forward networks are `ratio` times `features`.

    Example:
        >>> with torch.device("meta"):
        ...     net = mn.spaces.transformer_lm.network(768, 12, 4, 12)
        >>> sum(p.numel() for p in net.parameters())
        124439808
    """
    size = features // heads
    layers = [
        Layer(features, Attention(features, heads, size, causal=True), round(features * ratio)) for _ in range(depth)
    ]
    return LanguageModel(vocabulary, length, features, nn.Sequential(*layers))


@register("transformer_lm")
def create(
    vocabulary: int = 256,
    length: int = 64,
    features: int = 128,
    heads: Sequence[int] = (2, 4),
    ratios: Sequence[float] = (1.0, 2.0, 4.0),
    depths: Sequence[int] = (2, 3, 4),
) -> Parts:
    """The largest model, elastic in heads, hidden features and depth; each in ascending order.

    Args:
        vocabulary: number of tokens; 256 are bytes.
        length: most positions.
        features: of the embedding.
        heads: of each layer; of the largest number, `features` is a multiple.
        ratios: of each layer's feed-forward network; more than 1, or 1.
        depths: numbers of layers, without gaps.
    """
    model = network(features, heads[-1], ratios[-1], depths[-1], vocabulary, length)
    size = features // heads[-1]
    opened = [
        open_heads(heads, size),
        rules.expansion(*ratios, where="layers.*.feed_forward.*"),
    ]
    if len(depths) > 1:
        opened.append(rules.depth(min=depths[0], where="layers.*"))
    return model, opened, torch.randint(vocabulary, (1, length))
