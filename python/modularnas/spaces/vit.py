"""`vit`: embedding, heads, hidden features and depth of a vision transformer, as in AutoFormer (arXiv 2107.00651).

A transformer of patches (Dosovitskiy et al. 2020, arXiv 2010.11929) in the sizes of DeiT (arXiv 2012.12877), of which
one embedding width, the depth, and for every layer the number of heads (64 features each) and the ratio of the feed-
forward network vary, all sharing the weights of the largest (Chen et al. 2021, AutoFormer, section 3.2, "weight
entanglement"). The default are the choices of AutoFormer-tiny (table 1). Deviations: hidden features are multiples of
the largest embedding, not of the chosen one, and positions are absolute, not relative.

`network(192, 3, 4, 12)` is DeiT-tiny: 5.72 M parameters, 1.26 G multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["Attention", "Layer", "create", "network"]


class Attention(nn.Module):
    """Self-attention `(N, L, D)` to `(N, L, D)`, with heads of a fixed number of features.

    Args:
        features: D.
        heads: their number.
        head_size: features of each.
        causal: whether a position sees only those before it and itself.
    """

    def __init__(self, features: int, heads: int, head_size: int, causal: bool = False) -> None:
        super().__init__()
        self.head_size = head_size
        self.causal = causal
        self.query = nn.Linear(features, heads * head_size)
        self.key = nn.Linear(features, heads * head_size)
        self.value = nn.Linear(features, heads * head_size)
        self.project = nn.Linear(heads * head_size, features)

    def forward(self, x: Tensor) -> Tensor:
        """Products are written out, so that costs count them."""
        query = self.query(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)  # (N, heads, L, size)
        key = self.key(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        value = self.value(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
        scores = query @ key.transpose(-2, -1) * self.head_size**-0.5
        if self.causal:
            later = torch.ones_like(scores[0, 0]).triu(1) > 0
            scores = scores.masked_fill(later, float("-inf"))
        out: Tensor = self.project((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    """Attention and a feed-forward network, each after a norm and added: `(N, L, D)` to `(N, L, D)`."""

    def __init__(self, features: int, attention: nn.Module, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features)
        self.attention = attention
        self.norm2 = nn.LayerNorm(features)
        self.feed_forward = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, features))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.feed_forward(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """Pictures `(N, 3, H, W)` to logits `(N, classes)`."""

    def __init__(self, patches: nn.Module, n_patches: int, features: int, layers: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.patches = patches
        self.token = nn.Parameter(torch.zeros(1, 1, features))
        self.positions = nn.Parameter(torch.randn(1, n_patches + 1, features) * 0.02)
        self.layers = layers
        self.norm = nn.LayerNorm(features)
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        x = self.patches(x).flatten(2).transpose(1, 2)  # (N, patches, features)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        out: Tensor = self.classifier(self.norm(self.layers(x))[:, 0])
        return out


def network(
    features: int,
    heads: int,
    ratio: float,
    depth: int,
    num_classes: int = 1000,
    image_size: int = 224,
    patch_size: int | None = None,
) -> nn.Module:
    """A vision transformer.

    Args:
        features: of the embedding.
        heads: of every layer, 64 features each.
        ratio: hidden features of the feed-forward networks, as a multiple.
        depth: layers.
        num_classes: classes.
        image_size: height and width of the pictures, in pixels.
        patch_size: in pixels; None: 4 for pictures up to 64, else 16.

    Example:
        >>> sum(p.numel() for p in mn.spaces.vit.network(192, 3, 4, 12).parameters())
        5717416
    """
    patch_size = patch_size or (4 if image_size <= 64 else 16)
    layers = [Layer(features, Attention(features, heads, 64), round(features * ratio)) for _ in range(depth)]
    patches = nn.Conv2d(3, features, patch_size, stride=patch_size)
    n_patches = (image_size // patch_size) ** 2
    return VisionTransformer(patches, n_patches, features, nn.Sequential(*layers), num_classes)


def in_heads(path: str, module: nn.Module | None = None) -> bool:
    """Whether the layer at a path makes the features of heads."""
    return path.endswith((".query", ".key", ".value"))


def open_heads(heads: Sequence[int], size: int) -> rules.Rule:
    """The number of heads of each layer; queries, keys and values share the decision."""
    features = [size * n for n in heads]
    return rules.width(*features, where=in_heads).named(lambda path, _: path.rpartition(".")[0] + ".heads")


@register("vit")
def create(
    num_classes: int = 1000,
    image_size: int = 224,
    features: Sequence[int] = (192, 216, 240),
    heads: Sequence[int] = (3, 4),
    ratios: Sequence[float] = (3.5, 4.0),
    depths: Sequence[int] = (12, 13, 14),
) -> Parts:
    """The largest transformer, elastic in all of these; each in ascending order.

    Args:
        num_classes: classes.
        image_size: height and width of the pictures, in pixels.
        features: of the embedding.
        heads: of each layer.
        ratios: of each layer's feed-forward network.
        depths: numbers of layers, without gaps.
    """
    model = network(features[-1], heads[-1], ratios[-1], depths[-1], num_classes, image_size)
    opened = [
        rules.width(*features, where=lambda path, _: not in_heads(path)),
        open_heads(heads, 64),
        rules.expansion(*ratios, where="layers.*.feed_forward.*"),
    ]
    if len(depths) > 1:
        opened.append(rules.depth(min=depths[0], where="layers.*"))
    return model, opened, torch.randn(1, 3, image_size, image_size)
