"""Rule `resolution`."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform.rules.rule import Rule, different

__all__ = ["resolution"]


def resolution(*sizes: int | tuple[int, int]) -> Rule:
    """The size of the input becomes a choice; the supernet resizes what it is given (bilinear).

    For models that are called with one tensor `(N, C, H, W)`. Costs are exact at every size: each is run once, on
    tensors without memory. Sizes at which the forward fails, takes other steps or gives another shape (positions of a
    fixed number, flattened images) are left out, and the report says why. A derived network of another size than the
    given one is `nn.Sequential` of `resize` (an `nn.Upsample`) and `net`, so it takes what the given model takes.

    Args:
        sizes: two or more sizes in pixels, `(height, width)` or one number for both; that of the example among them.

    Raises:
        RuleError: for sizes that are no different positive integers.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> supernet = mn.rewrite(net, [mn.rules.resolution(16, 24, 32)], example=torch.randn(1, 3, 32, 32))
        >>> supernet.cost([{"resolution": 16}, {"resolution": 32}])["macs"]
        array([ 42352, 194416])
    """
    pairs = tuple(size if isinstance(size, tuple) else (size, size) for size in sizes)
    if not different(pairs):
        raise RuleError(f"resolution is given {sizes}; expected two or more different sizes, such as 160, 192, 224")
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for pair in pairs for n in pair)
    if not whole or not all(len(pair) == 2 for pair in pairs):
        raise RuleError(f"resolution is given {sizes}; expected integers of 1 or more, or pairs (height, width)")

    def model(path: str, module: nn.Module) -> bool:
        return path == ""

    return Rule({"rule": "resolution"}, lambda module: True, model, sizes=pairs)
