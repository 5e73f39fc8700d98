"""Rules `width` and `expansion`: how many channels layers make."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops.slot import Slot
from modularnas.transform.rules.rule import Rule, Where, different

__all__ = ["expansion", "width"]


def width(*sizes: float, divisor: int = 1, where: Where | None = None) -> Rule:
    """The number of channels of layers becomes a choice, together with everything that is coupled with them.

    Opens whatever makes channels: convolutions, linear layers, embeddings, and parameters of your own modules that are
    used in such products. Layers whose results are added, or that come in groups or heads, vary together; what cannot
    vary (the model's input and output, shapes written into a forward) is fixed, and `supernet.report()` says why. The
    first channels stay (slimmable networks, arXiv 1812.08928); all sizes share one weight.

    Args:
        sizes: shares of the given number, as floats; or numbers of channels, as ints, which open the layers whose given
            number is among them. Shares above 1.0 add channels that start as copies of the first ones and that no layer
            reads yet, so that a wider network starts as the given function (but where a norm is over channels); they
            are left out where a layer's channels have no end to add to. Ints above the given number are left out.
        divisor: the number is rounded to a multiple of it; 8 suits most hardware. The given number stays as it is.
        where: which layers: a glob over module paths, a class, a predicate(path, module), or a list of these. Of
            coupled layers it must name all.

    Raises:
        RuleError: for sizes out of range, or both kinds at once.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> supernet = mn.rewrite(net, [mn.rules.width(0.5, 1.0)], example=torch.randn(1, 3, 8, 8))
        >>> mn.derive(supernet, {"0.width": 4})[1]
        BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    """
    ratios = [size for size in sizes if isinstance(size, float)]
    channels = [size for size in sizes if isinstance(size, int) and not isinstance(size, bool)]
    if not different(sizes, 1) or len(ratios) + len(channels) != len(sizes):
        raise RuleError(f"width is given {sizes}; expected one or more different numbers, such as 0.5, 0.75, 1.0")
    if ratios and channels:
        raise RuleError(
            f"width is given {sizes}, floats and ints; expected only shares (0.5, 1.0) or only channels (32, 64)"
        )
    if not all(0 < ratio <= 8 for ratio in ratios):
        raise RuleError(f"width is given the shares {tuple(ratios)}; expected more than 0 and at most 8.0")
    if not all(count >= 1 for count in channels):
        raise RuleError(f"width is given {tuple(channels)} channels; expected 1 or more")
    _check_divisor("width", divisor)
    data = {"rule": "width", "ratios": ratios, "channels": channels, "divisor": divisor}
    return Rule(data, _makes_channels, where)


def expansion(*ratios: float, divisor: int = 1, where: Where | None = None) -> Rule:
    """The channels inside of a block become a choice, as a multiple of those it is given.

    Opens layers that make more channels than they read and whose channels only other layers read again: the hidden
    channels of inverted bottlenecks (MobileNetV2, arXiv 1801.04381) and of the feed-forward layers of transformers,
    where the given ratio is among `ratios`. Ratios above the given one are left out. What it opens, `width` leaves.

    Args:
        ratios: hidden channels divided by the channels that the block reads, such as 3, 6.
        divisor: the number of channels is rounded to a multiple of it.
        where: which layers: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: for ratios that are no different positive numbers.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))
        >>> supernet = mn.rewrite(net, [mn.rules.expansion(2, 4)], example=torch.randn(1, 8))
        >>> mn.derive(supernet, {"0.expansion": 16})[2]
        Linear(in_features=16, out_features=8, bias=True)
    """
    numbers = all(isinstance(r, (int, float)) and not isinstance(r, bool) and r > 0 for r in ratios)
    if not numbers or not different(ratios, 1):
        raise RuleError(f"expansion is given {ratios}; expected one or more different positive numbers, such as 3, 6")
    _check_divisor("expansion", divisor)
    data = {"rule": "expansion", "ratios": [float(r) for r in ratios], "divisor": divisor}
    return Rule(data, _makes_channels, where)


def _check_divisor(rule: str, divisor: int) -> None:
    if not isinstance(divisor, int) or isinstance(divisor, bool) or divisor < 1:
        raise RuleError(f"{rule} is given divisor={divisor!r}; expected an integer of 1 or more")


def _makes_channels(module: nn.Module) -> bool:
    return isinstance(module, Slot) or any(
        parameter is not None and parameter.dim() > 1 for parameter in module._parameters.values()
    )
