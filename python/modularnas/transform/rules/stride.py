"""Rule `stride`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform.kind import CONVOLUTIONS, pool
from modularnas.transform.rules.rule import Rule, Where, different

__all__ = ["stride"]


def stride(*choices: tuple[int, ...], where: Sequence[Where]) -> Rule:
    """Where pictures become smaller becomes one choice between strides of several places.

    A place is one or more convolutions or poolings of one stride, such as the first convolution of a residual block
    together with that of its shortcut. Every choice is run once, on tensors without memory; those at which the forward
    fails or gives another shape are left out, and the report says why. Costs are exact at every choice. The space has
    one decision, named by the first place.

    Args:
        choices: two or more tuples with one stride a place; the given strides among them.
        where: the places, in order: for each a glob over module paths, a class, a predicate(path, module), or a list of
            these.

    Raises:
        RuleError: for choices of other lengths than `where`.

    Example:
        >>> first, second = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        >>> net = nn.Sequential(first, second, nn.AdaptiveAvgPool2d(1))
        >>> rule = mn.rules.stride((2, 1), (1, 2), where=["0", "1"])
        >>> supernet = mn.rewrite(net, [rule], example=torch.randn(1, 3, 16, 16))
        >>> mn.derive(supernet, {"0.stride": (1, 2)})[1].stride
        (2, 2)
    """
    if isinstance(where, str) or not isinstance(where, Sequence) or not where:
        raise RuleError(f"stride is given where={where!r}; expected a list with one entry a place")
    if not different(choices):
        raise RuleError(f"stride is given {choices}; expected two or more different tuples, such as (2, 1), (1, 2)")
    for choice in choices:
        whole = isinstance(choice, tuple) and all(isinstance(n, int) and n >= 1 for n in choice)
        if not whole or len(choice) != len(where):
            raise RuleError(
                f"stride is given {choice!r}; expected a tuple of {len(where)} strides, one a place of where="
            )

    def has_stride(module: nn.Module) -> bool:
        return isinstance(module, CONVOLUTIONS) or (pool(module) is not None and hasattr(module, "stride"))

    flat: list[Any] = list(where)
    return Rule({"rule": "stride"}, has_stride, flat, sizes=tuple(choices))
