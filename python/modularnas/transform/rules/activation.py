"""Rule `activation`."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops import registry
from modularnas.ops.activation import ACTIVATIONS
from modularnas.transform import kind
from modularnas.transform.rules.rule import Rule, Where, different

__all__ = ["activation"]


def activation(*kinds: str, where: Where | None = None) -> Rule:
    """Which activation is used becomes a choice (Ramachandran, Zoph and Le 2017, arXiv 1710.05941).

    Opens every activation module whose kind is among `kinds`; that one is the given module itself. An activation that a
    forward calls as a function is no module and stays.

    Args:
        kinds: two or more names of candidate ops of the family `activation` (`docs/ops.md`): "relu", "silu", "gelu", ….
        where: which activations: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: for names that are no activations, or given twice.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> supernet = mn.rewrite(net, [mn.rules.activation("relu", "silu")], example=torch.randn(1, 4))
        >>> mn.derive(supernet, {"1.activation": "silu"})[1]
        SiLU()
    """
    if not different(kinds) or not all(isinstance(name, str) and name in ACTIVATIONS for name in kinds):
        raise RuleError(
            f"activation is given {kinds}; expected two or more different names of {', '.join(sorted(ACTIVATIONS))}"
        )

    def is_activation(module: nn.Module) -> bool:
        return kind.activation(module) is not None

    builds = {name: registry.find(name) for name in kinds}
    return Rule({"rule": "activation", "kinds": list(kinds)}, is_activation, where, builds, kind="activation")
