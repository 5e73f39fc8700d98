"""Rule `dropout`."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform import kind
from modularnas.transform.rules.rule import Rule, Where, different

__all__ = ["dropout"]


def dropout(*probabilities: float, where: Where | None = None) -> Rule:
    """The probability of dropouts becomes a choice (Srivastava et al. 2014), of stochastic depth too.

    Opens dropout layers of torch, `StochasticDepth` of torchvision (Huang et al. 2016, arXiv 1603.09382) and `DropPath`
    of timm whose probability is among the choices. In eval mode and in costs all choices are equal.

    Args:
        probabilities: two or more different ones in [0, 1].
        where: which layers: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: for numbers that are no different probabilities.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
        >>> supernet = mn.rewrite(net, [mn.rules.dropout(0.0, 0.2, 0.5)], example=torch.randn(1, 4))
        >>> mn.derive(supernet, {"1.dropout": 0.2})[1]
        Dropout(p=0.2, inplace=False)
    """
    if not different(probabilities):
        raise RuleError(f"dropout is given {probabilities}; expected two or more different numbers, such as 0.0, 0.2")
    if not all(isinstance(p, (int, float)) and not isinstance(p, bool) and 0 <= p <= 1 for p in probabilities):
        raise RuleError(f"dropout is given {probabilities}; expected probabilities from 0.0 to 1.0")

    def is_dropout(module: nn.Module) -> bool:
        return kind.dropout(module) is not None

    return Rule({"rule": "dropout", "ps": [float(p) for p in probabilities]}, is_dropout, where)
