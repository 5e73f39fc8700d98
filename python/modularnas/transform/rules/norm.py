"""Rule `norm`."""

from __future__ import annotations

import re

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops import registry
from modularnas.transform import kind
from modularnas.transform.rules.rule import Rule, Where, different

__all__ = ["norm"]

#: What a short name stands for; 32 groups are the default of Wu and He 2018 (arXiv 1803.08494, section 4).
_SHORT = {
    "batch": "batch_norm",
    "layer": "layer_norm",
    "rms": "rms_norm",
    "instance": "instance_norm",
    "group": "group_norm_g32",
}


def norm(*kinds: str, where: Where | None = None) -> Rule:
    """Which normalisation is used becomes a choice, for the same channels.

    Opens every batch, group, layer, RMS and instance norm whose kind is among `kinds`; that one is the given module
    itself, with its weights and statistics, the others start as new ones. Kinds that a place does not allow (RMS where
    channels come first, groups that do not divide the channels) are left out there. On `(N, C, …)` the layer norm is
    the group norm of one group.

    Args:
        kinds: two or more of "batch", "layer", "rms", "instance", "group" (32 groups), "group_norm_g8" (8 groups).
        where: which norms: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: for other names, or one given twice.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> rules = [mn.rules.norm("batch", "layer", "group_norm_g4")]
        >>> supernet = mn.rewrite(net, rules, example=torch.randn(2, 3, 8, 8))
        >>> mn.derive(supernet, {"1.norm": "group_norm_g4"})[1]
        GroupNorm(4, 8, eps=1e-05, affine=True)
    """
    names = [_SHORT.get(name, name) if isinstance(name, str) else str(name) for name in kinds]
    known = all(name in _SHORT.values() or re.fullmatch(r"group_norm_g[1-9]\d*", str(name)) for name in names)
    if not different(names) or not known:
        raise RuleError(
            f"norm is given {kinds}; expected two or more different ones of {', '.join(_SHORT)}, group_norm_g8"
        )

    def is_norm(module: nn.Module) -> bool:
        return kind.norm(module) is not None

    builds = {name: registry.find(name) for name in names}
    return Rule({"rule": "norm", "kinds": names}, is_norm, where, builds, kind="norm")
