"""Rule `tie`: several places, one decision."""

from __future__ import annotations

import dataclasses

from modularnas.errors import RuleError
from modularnas.transform.rules.rule import Rule

__all__ = ["tie"]


def tie(rule: Rule, *patterns: str) -> Rule:
    """The places of a rule vary together: one decision for all of them, or one for each pattern.

    The decision has the name of its pattern (`"layer1.*.kernel_size"`), or of the rule alone (`"kernel_size"`). Tied
    places have the same choices; one that allows others stays as it is, and the report says so. Tied widths are chosen
    as shares of each place's own width. If the given network's values differ between tied places it is no point of the
    space: `original_point` is None.

    Args:
        rule: any rule that opens places; `freeze`, `resolution` and `stride` have nothing to tie.
        patterns: globs over module paths; places that match none stay alone. None: all places.

    Raises:
        RuleError: if the rule is none, or opens one decision anyway.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1))
        >>> rules = [mn.rules.tie(mn.rules.kernel_size(3, 5))]
        >>> supernet = mn.rewrite(net, rules, example=torch.randn(1, 3, 8, 8))
        >>> supernet.space.size, mn.derive(supernet, {"kernel_size": 5})[1].kernel_size
        (2, (5, 5))
    """
    if not isinstance(rule, Rule):
        raise RuleError(f"tie is given a {type(rule).__name__}; expected a rule, such as mn.rules.kernel_size(3, 5)")
    name = rule.data["rule"]
    if rule.sizes is not None or name == "freeze":
        raise RuleError(f"tie is given {name}, which has one decision or none")
    if not all(isinstance(pattern, str) and pattern for pattern in patterns) or len(set(patterns)) != len(patterns):
        raise RuleError(f"tie is given the patterns {patterns}; expected different globs over module paths")
    return dataclasses.replace(rule, tie=patterns or ("",))
