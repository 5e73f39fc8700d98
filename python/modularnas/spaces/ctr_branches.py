"""`ctr_branches`: feature interactions of a network for click-through rates, ModularNAS' space for recommendation.

Every field of a row (a category, or a number) has an embedding; several branches each turn all embeddings into a
vector by one kind of interaction, and two layers on all vectors, plus a linear term of the fields, give the logit of a
click (Lin et al., MLSys 2021, section 4.3: "multi-branch" with inner product, outer product or MLP in each). Candidates
are these three and, beyond the paper, a cross layer (DCN), a factorization machine and self-attention over the fields
(AutoInt): `mn.ops.names("fields")` describes them. `branches=3` with the paper's three gives 3³ networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modularnas.errors import SpaceError
from modularnas.ops import Slot
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["INTERACTIONS", "ClickNetwork", "FieldEmbedding", "create"]

#: The candidates; the first three are the paper's.
INTERACTIONS = ("inner_product", "outer_product", "mlp", "cross", "fm", "field_attention")


class FieldEmbedding(nn.Module):
    """Numbers `(N, n_numbers)` and categories `(N, n_categories)` to `(N, fields, dim)`.

    A category has a vector, a number multiplies the vector of its field (Guo et al. 2017, DeepFM, arXiv 1703.04247).

    Args:
        n_numbers: fields that are numbers.
        sizes: how many categories each other field has.
        dim: of a vector.
    """

    offsets: Tensor

    def __init__(self, n_numbers: int, sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.scales = nn.Parameter(torch.randn(n_numbers, dim) * 0.01)
        self.vectors = nn.Embedding(sum(sizes), dim)
        nn.init.normal_(self.vectors.weight, std=0.01)
        self.register_buffer("offsets", torch.tensor([0, *sizes[:-1]]).cumsum(0))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Shapes as in the class."""
        return torch.cat([numbers.unsqueeze(2) * self.scales, self.vectors(categories + self.offsets)], dim=1)


class ClickNetwork(nn.Module):
    """Numbers and categories (as in `FieldEmbedding`) to logits `(N,)`.

    Args:
        embedding: to `(N, fields, dim)`.
        linear: to `(N, fields, 1)`.
        branches: each `(N, fields, dim)` to `(N, width)`.
        width: of a branch.
        hidden: features of the layer on all branches.
    """

    def __init__(
        self, embedding: nn.Module, linear: nn.Module, branches: Sequence[nn.Module], width: int, hidden: int
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.linear = linear
        self.branches = nn.ModuleList(branches)
        n = len(branches) * width
        self.head = nn.Sequential(nn.BatchNorm1d(n), nn.ReLU(), nn.Linear(n, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Shapes as in the class."""
        fields = self.embedding(numbers, categories)
        vectors = torch.cat([branch(fields) for branch in self.branches], dim=1)
        out: Tensor = self.head(vectors).squeeze(1) + self.linear(numbers, categories).sum((1, 2))
        return out


@register("ctr_branches")
def create(
    n_numbers: int = 13,
    sizes: Sequence[int] = (100,) * 26,
    dim: int = 8,
    branches: int = 3,
    width: int = 32,
    hidden: int = 64,
    interactions: Sequence[str] = INTERACTIONS,
) -> Parts:
    """The network with open branches.

    Args:
        n_numbers: fields that are numbers.
        sizes: how many categories each other field has, one or more fields.
        dim: of an embedding.
        branches: their number.
        width: of a branch's vector.
        hidden: features of the layer on all branches.
        interactions: the candidates.
    """
    if not sizes or n_numbers + len(sizes) < 2:
        raise SpaceError(
            f"ctr_branches is given {n_numbers} numbers and {len(sizes)} categories; expected 2 fields or more"
        )
    fields = n_numbers + len(sizes)
    model = ClickNetwork(
        FieldEmbedding(n_numbers, sizes, dim),
        FieldEmbedding(n_numbers, sizes, 1),
        [Slot(fields, width, layout="fields") for _ in range(branches)],
        width,
        hidden,
    )
    opened = rules.slots(interactions).named(lambda path, _: f"branch_{path.rpartition('.')[2]}")
    return model, [opened], (torch.randn(1, n_numbers), torch.zeros(1, len(sizes), dtype=torch.int64))
