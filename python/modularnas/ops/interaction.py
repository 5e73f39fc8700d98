"""Interactions of fields: `inner_product`, `outer_product`, `mlp`, `fm`, `cross`, `field_attention`.

The input is `(N, fields, dim)`, one embedding a field; the output `(N, out)`, by a linear map of what the interaction
gives, so that any of them fits a branch of a network.

- `inner_product`: of every pair of different fields (Qu et al. 2016, PNN, arXiv 1611.00144, section III-B). The paper
  adds the fields themselves; here that is another branch.
- `outer_product`: of the sum of the fields with itself, dim x dim numbers (section III-C, the superposition).
- `fm`: half of the square of the sum less the sum of the squares, the pooled pairs of a factorization machine (He and
  Chua 2017, arXiv 1708.05027, equation 4).
- `cross`: the fields as one vector x: x (x w) + b + x (Wang et al. 2017, DCN, arXiv 1708.05123, equation 3, first
  layer).
- `field_attention`: one layer of self-attention over the fields with a residual, then all of them as one vector (Song
  et al. 2018, AutoInt, arXiv 1810.11921, equations 5 to 8, one head of the embedding's size; `_h2` for two).
- `mlp`: the fields as one vector; a layer of `_h64` with ReLU, by default as wide as the output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modularnas.errors import RuleError
from modularnas.ops import dims
from modularnas.ops.attention import SelfAttention
from modularnas.ops.registry import FIELDS, register
from modularnas.ops.residual import Residual
from modularnas.ops.slot import Slot

__all__ = ["Cross", "FactorizationMachine", "InnerProduct", "OuterProduct"]


class InnerProduct(nn.Module):
    """Inner products of all pairs of different fields: `(N, fields, dim)` to `(N, fields (fields - 1) / 2)`.

    Args:
        fields: number of fields, 2 or more.

    Example:
        >>> from modularnas.ops.interaction import InnerProduct
        >>> InnerProduct(3)(torch.tensor([[[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]]))
        tensor([[1., 0., 2.]])
    """

    pairs: Tensor

    def __init__(self, fields: int) -> None:
        super().__init__()
        row, column = torch.triu_indices(fields, fields, offset=1)
        self.register_buffer("pairs", row * fields + column)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        return (x @ x.transpose(1, 2)).flatten(1)[:, self.pairs]


class OuterProduct(nn.Module):
    """Outer product of the sum of the fields with itself: `(N, fields, dim)` to `(N, dim * dim)`.

    Example:
        >>> from modularnas.ops.interaction import OuterProduct
        >>> OuterProduct()(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]))
        tensor([[1., 2., 2., 4.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        total = x.sum(1)
        return (total.unsqueeze(2) * total.unsqueeze(1)).flatten(1)


class FactorizationMachine(nn.Module):
    """Sum of the products of all pairs of different fields, by dimension: `(N, fields, dim)` to `(N, dim)`.

    Example:
        >>> from modularnas.ops.interaction import FactorizationMachine
        >>> FactorizationMachine()(torch.tensor([[[1.0, 0.0], [3.0, 2.0]]]))
        tensor([[3., 0.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        return 0.5 * (x.sum(1).square() - x.square().sum(1))


class Cross(nn.Module):
    """A cross layer: `x (x w) + b + x` for vectors `(N, features)`.

    Args:
        features: length of the vectors.

    Example:
        >>> from modularnas.ops.interaction import Cross
        >>> Cross(3)(torch.randn(2, 3)).shape
        torch.Size([2, 3])
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Linear(features, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in the class."""
        out: Tensor = x * self.weight(x) + self.bias + x
        return out


def _then_linear(slot: Slot, features: int, *interaction: nn.Module) -> nn.Module:
    return nn.Sequential(*interaction, nn.Linear(features, slot.out_channels, bias=bool(slot.bias)))


@register("inner_product", inputs=FIELDS)
def inner_product(slot: Slot) -> nn.Module:
    """Inner products of all pairs of fields, then a linear map."""
    fields, _ = dims.fields(slot)
    if fields < 2:
        raise RuleError(f"an inner product is given {fields} field; expected 2 or more")
    return _then_linear(slot, fields * (fields - 1) // 2, InnerProduct(fields))


@register("outer_product", inputs=FIELDS)
def outer_product(slot: Slot) -> nn.Module:
    """Outer product of the sum of the fields with itself, then a linear map."""
    _, dim = dims.fields(slot)
    return _then_linear(slot, dim * dim, OuterProduct())


@register("fm", inputs=FIELDS)
def fm(slot: Slot) -> nn.Module:
    """Pooled pairs of a factorization machine, then a linear map."""
    _, dim = dims.fields(slot)
    return _then_linear(slot, dim, FactorizationMachine())


@register("cross", inputs=FIELDS)
def cross(slot: Slot) -> nn.Module:
    """Cross layer of the fields as one vector, then a linear map."""
    fields, dim = dims.fields(slot)
    return _then_linear(slot, fields * dim, nn.Flatten(), Cross(fields * dim))


@register("mlp[_h{hidden}]", names=["mlp", "mlp_h64"], inputs=FIELDS)
def mlp(slot: Slot, hidden: int | None = None) -> nn.Module:
    """Two linear maps of the fields as one vector with ReLU between."""
    fields, dim = dims.fields(slot)
    hidden = hidden or slot.out_channels
    return _then_linear(slot, hidden, nn.Flatten(), nn.Linear(fields * dim, hidden), nn.ReLU())


@register("field_attention[_h{heads}]", names=["field_attention", "field_attention_h2"], inputs=FIELDS)
def field_attention(slot: Slot, heads: int = 1) -> nn.Module:
    """Self-attention over the fields, then a linear map of all of them; heads {heads}."""
    fields, dim = dims.fields(slot)
    attention = Residual(SelfAttention(dim, dim, heads), after=nn.ReLU())
    return _then_linear(slot, fields * dim, attention, nn.Flatten())
