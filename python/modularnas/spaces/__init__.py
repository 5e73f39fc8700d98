"""Ready search spaces: published models with the rules that open them.

One space is one file with a function that gives a model, its rules and an example input; copy `nats_size.py` for a new
one and import it here. The room knows `transform` and `ops`; no algorithm, no evaluator, no data.
"""

from modularnas.spaces import (
    audio_resnet34,
    ctr_branches,
    darts,
    enas,
    mobilenet_v2,
    mobilenet_v3,
    nasbench101,
    nasbench201,
    nasbench_macro,
    nasnet,
    nats_size,
    proxylessnas,
    pyramidnet,
    resnet,
    resnext,
    shufflenet_v2,
    stacnas,
    transformer_lm,
    vit,
)
from modularnas.spaces.registry import create, names, register

__all__ = [
    "audio_resnet34",
    "create",
    "ctr_branches",
    "darts",
    "enas",
    "mobilenet_v2",
    "mobilenet_v3",
    "names",
    "nasbench101",
    "nasbench201",
    "nasbench_macro",
    "nasnet",
    "nats_size",
    "proxylessnas",
    "pyramidnet",
    "register",
    "resnet",
    "resnext",
    "shufflenet_v2",
    "stacnas",
    "transformer_lm",
    "vit",
]
