"""What every relaxation is: a map from architecture parameters to the weights of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

__all__ = ["Gates", "Relaxation"]


class Gates(NamedTuple):
    """How n decisions with K candidates each weigh them in one forward.

    Attributes:
        weights: `(n, K)`, differentiable; None: the one path of each decision counts as it is.
        paths: for each decision the candidates that run; None: all.
        watched: for each decision the candidates of weight 0 that run only to tell the gradient of their weight, and
            get none themselves; None: none.
    """

    weights: Tensor | None
    paths: Sequence[Sequence[int]] | None = None
    watched: Sequence[Sequence[int]] | None = None


class Relaxation:
    """Weighs candidates by architecture parameters.

    Works on all decisions with equally many candidates at once. All randomness comes from the generator that it is
    given: a function of seed and step, so that every process of a distributed run draws the same.

    Args:
        temperature: divides the architecture parameters (or, in Gumbel forms, them and their noise); above 0. A search
            algorithm changes it by a schedule.

    Attributes:
        n_paths: how many candidates run; 0: all.
        draws: whether anything is drawn.
    """

    name: ClassVar[str]
    n_paths: ClassVar[int] = 0
    draws: ClassVar[bool] = True

    def __init__(self, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; expected more than 0")
        self.temperature = temperature

    def probabilities(self, logits: Tensor) -> Tensor:
        """How much each candidate counts without noise: `(n, K)` of `(n, K)`; what costs expect and points maximise."""
        return torch.softmax(logits, -1)

    def gates(self, logits: Tensor, generator: torch.Generator | None) -> Gates:
        """The weights for one forward.

        Args:
            logits: the architecture parameters, `(n, K)`.
            generator: on the CPU; None (in eval mode): no noise, and the most probable candidate where one is drawn.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


def gumbel(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """The parameters with standard Gumbel noise, the maximum of which is a draw from their softmax."""
    if generator is None:
        return logits
    noise = torch.empty(logits.shape, dtype=torch.float64).exponential_(generator=generator).log_().neg_()
    return logits + noise.to(logits)


def draw(probabilities: Tensor, count: int, generator: torch.Generator | None) -> list[list[int]]:
    """Different candidates of each decision, drawn one after the other; the most probable ones without a generator."""
    probabilities = probabilities.detach().to("cpu", torch.float64)
    count = min(count, probabilities.shape[-1])
    if generator is None:
        codes = probabilities.topk(count).indices
    else:
        codes = torch.multinomial(probabilities, count, generator=generator)
    drawn: list[list[int]] = codes.tolist()
    return drawn


def hard(logits: Tensor, paths: Sequence[Sequence[int]]) -> Tensor:
    """One at the first path of each decision, else zero: `(n, K)`."""
    index = torch.tensor([codes[0] for codes in paths], device=logits.device)
    return torch.zeros_like(logits).scatter_(-1, index[:, None], 1.0)


def straight_through(value: Tensor, surrogate: Tensor) -> Tensor:
    """Exactly the value, with the gradient of the surrogate."""
    return (surrogate - surrogate.detach()) + value


def others(paths: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """The candidates that are not on the paths."""
    return [[code for code in range(count) if code not in codes] for codes in paths]
