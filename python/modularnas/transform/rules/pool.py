"""Rule `pool`."""

from __future__ import annotations

from typing import Any

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops.slot import Slot
from modularnas.transform import kind
from modularnas.transform.rules.rule import Rule, Where

__all__ = ["pool"]


def pool(*kinds: str, where: Where | None = None) -> Rule:
    """Maximum or average: which pooling is used becomes a choice, over the same windows.

    Opens `nn.MaxPool` and `nn.AvgPool` in 1, 2 and 3 dimensions, and the adaptive ones; the given one is the given
    module itself. An average does not count padding. Windows with holes have no average and stay.

    Args:
        kinds: "max" and "avg".
        where: which poolings: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: for other names.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2))
        >>> supernet = mn.rewrite(net, [mn.rules.pool("max", "avg")], example=torch.randn(1, 3, 8, 8))
        >>> mn.derive(supernet, {"1.pool": "avg"})[1]
        AvgPool2d(kernel_size=2, stride=2, padding=0)
    """
    if kinds not in (("avg", "max"), ("max", "avg")):
        raise RuleError(f"pool is given {kinds}; expected 'max' and 'avg'")

    def is_pool(module: nn.Module) -> bool:
        return kind.pool(module) is not None

    return Rule({"rule": "pool", "kinds": list(kinds)}, is_pool, where, dict.fromkeys(kinds, _other), kind="pool")


def _other(slot: Slot) -> nn.Module:
    """The other pooling of the same windows."""
    given: Any = slot.original
    name = type(given).__name__
    cls = getattr(nn, name.replace("Max", "Avg") if "Max" in name else name.replace("Avg", "Max"))
    if "Adaptive" in name:
        made: nn.Module = cls(given.output_size)
    elif "Avg" in name:
        made = cls(given.kernel_size, given.stride, given.padding, ceil_mode=given.ceil_mode)
    else:
        if given.return_indices or given.dilation not in (1, (1,) * slot.dims):
            raise RuleError("its windows have holes, or it returns indices; an average has neither")
        made = cls(given.kernel_size, given.stride, given.padding, ceil_mode=given.ceil_mode, count_include_pad=False)
    return made
