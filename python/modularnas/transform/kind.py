"""What a module computes, as far as rules can vary it: the plain record that the native half reads."""

from __future__ import annotations

import re
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from modularnas.ops.activation import ACTIVATIONS
from modularnas.ops.slot import Slot

__all__ = ["CONVOLUTIONS", "activation", "attention", "dropout", "kind", "norm", "pool"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

#: Attributes that say how many heads queries, and keys and values, have; and how many features a head has.
_HEADS = "num_heads num_attention_heads n_heads n_head nhead heads".split()
_KV_HEADS = "num_key_value_heads num_kv_heads n_kv_heads kv_heads".split()
_HEAD_SIZE = "head_dim attention_head_size head_size dim_head key_value_proj_dim d_head d_kv".split()
_SAYS_HEADS = {*_HEADS, *_HEAD_SIZE}

_ACTIVATIONS = {cls: name for name, cls in ACTIVATIONS.items()}
_POOLS = {
    cls: kind
    for kind, classes in {
        "max": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
        "avg": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
        "adaptive_max": (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
        "adaptive_avg": (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    }.items()
    for cls in classes
}


def kind(module: nn.Module, sealed: str | None) -> dict[str, Any]:
    """The record of a module; `sealed` says why the weight of a convolution must not be touched."""
    if isinstance(module, Slot):
        return {"kind": "slot"}
    if isinstance(module, CONVOLUTIONS):
        padding = module.padding
        if padding == "valid":
            padding = (0,) * len(module.kernel_size)
        return {
            "kind": "conv",
            "in_channels": module.in_channels,
            "out_channels": module.out_channels,
            "kernel_size": list(module.kernel_size),
            "padding": None if isinstance(padding, str) else list(padding),
            "dilation": list(module.dilation),
            "groups": module.groups,
            "sealed": sealed,
        }
    for name, find in (("activation", activation), ("norm", norm), ("pool", pool)):
        if (found := find(module)) is not None:
            return {"kind": name, "name": found}
    if (attribute := dropout(module)) is not None:
        return {"kind": "dropout", "attribute": attribute, "p": float(getattr(module, attribute))}
    record = attention(module)
    return {"kind": "other"} if record is None else {"kind": "attention", **record}


def activation(module: nn.Module) -> str | None:
    """The candidate op that is the same activation; a name that is none of them if there is none."""
    name = _ACTIVATIONS.get(type(module))
    if name == "gelu" and module.approximate != "none":
        return "gelu_tanh"
    if name is None and type(module).__name__ == "GELUActivation":  # of transformers; torch's GELU
        return "gelu"
    return name


def norm(module: nn.Module) -> str | None:
    """The candidate op that is the same kind of normalisation."""
    if isinstance(module, _InstanceNorm):
        return "instance_norm"
    if isinstance(module, _BatchNorm):
        return "batch_norm"
    if isinstance(module, nn.GroupNorm):
        return "layer_norm" if module.num_groups == 1 else f"group_norm_g{module.num_groups}"
    if isinstance(module, nn.LayerNorm):
        return "layer_norm"
    return "rms_norm" if isinstance(module, nn.RMSNorm) else None


def pool(module: nn.Module) -> str | None:
    """Which pooling it is."""
    name = _POOLS.get(type(module))
    return name and name.removeprefix("adaptive_")


def dropout(module: nn.Module) -> str | None:
    """The attribute of a dropout, or of a layer of stochastic depth, that holds its probability."""
    if isinstance(module, _DropoutNd) or type(module).__name__ == "StochasticDepth":
        return "p"
    return "drop_prob" if type(module).__name__.endswith("DropPath") and hasattr(module, "drop_prob") else None


def attention(module: nn.Module) -> dict[str, Any] | None:
    """Heads of a module that says how many it has."""
    if _SAYS_HEADS.isdisjoint(vars(module)):
        return None
    heads, kv_heads, head_size = (_number(module, names) for names in (_HEADS, _KV_HEADS, _HEAD_SIZE))
    config = getattr(module, "config", None)
    if heads is None and head_size is not None:  # as attentions of transformers do, whose views infer it
        heads = getattr(config, "num_attention_heads", None)
        kv_heads = getattr(config, "num_key_value_heads", None)
    inner = (child for child in module.modules() if child is not module)
    if not isinstance(heads, int) or heads < 1 or any(attention(child) for child in inner):
        return None  # a block that passes the number on is no attention
    kv_heads = kv_heads or heads
    proportional = {*_HEADS, *_KV_HEADS}
    attributes = {
        name: value
        for name, value in vars(module).items()
        if type(value) is int
        and (
            name in proportional
            or (head_size and value == heads * head_size and re.search("head|dim|size|embed|channels", name))
        )
    }
    sealed = None
    if heads % kv_heads:
        sealed = f"its {heads} heads do not share {kv_heads} keys and values evenly"
    if isinstance(module, nn.MultiheadAttention):
        attributes = {"num_heads": heads}
        if type(module).forward is not nn.MultiheadAttention.forward:
            sealed = f"its class {type(module).__name__} has its own forward"
        elif module.bias_k is not None or module.add_zero_attn:
            sealed = "it adds a bias or zeros to its keys"
    return {
        "heads": heads,
        "kv_heads": kv_heads,
        "head_size": head_size,
        "attributes": attributes,
        "sealed": sealed,
    }


def _number(module: nn.Module, names: list[str]) -> int | None:
    return next((value for name in names if type(value := vars(module).get(name)) is int), None)
