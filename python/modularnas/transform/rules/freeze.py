"""Rule `freeze`."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform.rules.rule import Rule, Where

__all__ = ["freeze"]


def freeze(where: Where) -> Rule:
    """Nothing varies in some modules, and their parameters require no gradients.

    Whatever the other rules say, no decision is opened at these modules or inside of them, their tensors keep their
    shapes (so widths that they make or read are fixed), and they are not left out with a stage. An optimizer for the
    others takes `[p for p in supernet.parameters() if p.requires_grad]`. Statistics of batch norms still follow the
    data in train mode.

    Args:
        where: which modules: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: if `where` is None.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
        >>> rules = [mn.rules.kernel_size(3, 5), mn.rules.freeze("0")]
        >>> mn.rewrite(net, rules, example=torch.randn(1, 3, 8, 8)).space.size
        2
    """
    if where is None:
        raise RuleError("freeze is given where=None; expected a glob over module paths, a class or a predicate")

    def any_module(module: nn.Module) -> bool:
        return True

    return Rule({"rule": "freeze"}, any_module, where)
