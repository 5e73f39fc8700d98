"""Transformations (the paper's δ): how topology and weights follow the decisions.

`trace` reads a model, `rules` say what may vary, `apply` makes the supernet, `derive` gives back a plain network,
`export` writes it as source and weights; `state` morphs trained networks. The plan and the weight maps are made by the
native half; here they are applied to torch modules. The room knows `ops` and `nn`; no algorithm and no evaluator.
"""

from modularnas.transform import rules
from modularnas.transform.apply import rewrite
from modularnas.transform.derive import derive
from modularnas.transform.export import export, load_export
from modularnas.transform.state import (
    Match,
    Morphisms,
    average,
    deepen,
    inherit,
    insert_skip,
    reinitialise,
    remove_skip,
    sort_channels,
    widen,
)
from modularnas.transform.supernet import Supernet

__all__ = [
    "Match",
    "Morphisms",
    "Supernet",
    "average",
    "deepen",
    "derive",
    "export",
    "inherit",
    "insert_skip",
    "load_export",
    "reinitialise",
    "remove_skip",
    "rewrite",
    "rules",
    "sort_channels",
    "widen",
]
