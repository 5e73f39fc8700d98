"""Rule `heads`."""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.transform.kind import attention
from modularnas.transform.rules.rule import Rule, Where, different

__all__ = ["heads"]


def heads(*numbers: int, where: Where | None = None) -> Rule:
    """The number of heads of attentions becomes a choice; the first heads stay, each with its size.

    Opens `nn.MultiheadAttention` and every module that says its number of heads in an attribute (`num_heads`,
    `num_attention_heads`, …) and splits channels into them by a view: attentions of timm, of transformers, your own.
    Queries, keys, values and what joins them become narrower together (AutoFormer, arXiv 2107.00651, section 3.2);
    heads that share keys and values stay in whole groups. Numbers above the given one are left out. An
    `nn.MultiheadAttention` with fewer heads is derived as a `torch.fx.GraphModule`, since torch has no such layer.

    Args:
        numbers: two or more numbers of heads; opens attentions whose number is among them.
        where: which attentions: a glob over module paths, a class, a predicate(path, module), or a list of these.

    Raises:
        RuleError: for numbers that are no different positive integers.

    Example:
        >>> net = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        >>> supernet = mn.rewrite(net, [mn.rules.heads(1, 2, 4)], example=torch.randn(1, 5, 16))
        >>> mn.derive(supernet, {"self_attn.heads": 2}).self_attn.out_proj.weight.shape
        torch.Size([16, 8])
    """
    if not different(numbers):
        raise RuleError(f"heads is given {numbers}; expected two or more different numbers, such as 2, 4, 8")
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in numbers):
        raise RuleError(f"heads is given {numbers}; expected integers of 1 or more")

    def has_heads(module: nn.Module) -> bool:
        return attention(module) is not None

    return Rule({"rule": "heads", "heads": list(numbers)}, has_heads, where)
