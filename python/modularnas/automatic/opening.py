"""Which rules fit a model: each is tried alone, those that open something are taken together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform import Supernet, rewrite, rules
from modularnas.transform.rules import Rule
from modularnas.transform.trace import Example

__all__ = ["Opening", "open_model"]


@dataclass(frozen=True)
class Opening:
    """A supernet, and why it is so.

    Attributes:
        supernet: the model with its choices.
        reasons: one line for each rule that was tried.
    """

    supernet: Supernet
    reasons: list[str]


def _depthwise(path: str, module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and module.groups == module.in_channels > 1


def _dense(path: str, module: nn.Module) -> bool:
    one = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and set(module.kernel_size) == {1}
    return isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and not one and not _depthwise(path, module)


def _candidates(model: nn.Module) -> list[tuple[str, Rule, str]]:
    """Name, rule, and why it is worth trying; ordered by what they change of a model."""
    widths = [
        module.out_channels for module in model.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    ]
    divisor = 8 if min(widths, default=64) >= 32 else 1  # what hardware likes, where there is room for it
    return [
        ("kernel_size(3, 5, 7)", rules.kernel_size(3, 5, 7, where=_depthwise), "larger depthwise kernels cost little"),
        ("kernel_size(3, 5)", rules.kernel_size(3, 5, where=_dense), "7x7 would cost five times a 3x3"),
        ("width(0.5, 0.75, 1.0)", rules.width(0.5, 0.75, 1.0, divisor=divisor), "what saves most, without new weights"),
        ("depth()", rules.depth(), "blocks whose input fits their output may be left out"),
    ]


def open_model(
    model: nn.Module, example: Example, given: Sequence[Rule] | None = None, *, inplace: bool = False
) -> Opening:
    """Rewrites a model by the given rules, or by all that fit it.

    Raises:
        RuleError: if nothing in the model can vary, with the reason for each rule.
    """
    if given is not None:
        return Opening(rewrite(model, given, example=example, inplace=inplace), ["rules: as given"])
    fitting, reasons = [], []
    for name, rule, why in _candidates(model):
        try:
            opened = len(rewrite(model, [rule], example=example).space)
        except RuleError as error:
            reasons.append(f"without {name}: {str(error).splitlines()[0]}")
            continue
        fitting.append(rule)
        reasons.append(f"with {name}: it opens {opened} decision{'s' if opened > 1 else ''}; {why}")
    if not fitting:
        raise RuleError("nothing in the model can vary:\n" + "\n".join(reasons))
    return Opening(rewrite(model, fitting, example=example, inplace=inplace), reasons)
