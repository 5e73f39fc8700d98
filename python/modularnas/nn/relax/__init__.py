"""Relaxations: how a mixed op weighs its candidates by architecture parameters; one class a file.

`RELAXATIONS` has them by name, for `supernet.relax(name)`. Beside them: schedules of their temperature, the choices
that are left in the end (`strongest`, `strongest_edges`), and drop-path.
"""

from modularnas.nn.relax.binary_gate import BinaryGate
from modularnas.nn.relax.dirichlet import Dirichlet
from modularnas.nn.relax.drop_path import DropPath
from modularnas.nn.relax.gumbel import Gumbel
from modularnas.nn.relax.index import Index
from modularnas.nn.relax.partial_channels import PartialChannels
from modularnas.nn.relax.reinmax import ReinMax
from modularnas.nn.relax.relaxation import Gates, Relaxation
from modularnas.nn.relax.select import strongest, strongest_edges
from modularnas.nn.relax.sigmoid import Sigmoid
from modularnas.nn.relax.softmax import Softmax
from modularnas.nn.relax.straight_through import StraightThrough
from modularnas.nn.relax.temperature import Cosine, Exponential, Linear
from modularnas.nn.relax.uniform_gate import UniformGate

__all__ = [
    "RELAXATIONS",
    "BinaryGate",
    "Cosine",
    "Dirichlet",
    "DropPath",
    "Exponential",
    "Gates",
    "Gumbel",
    "Index",
    "Linear",
    "PartialChannels",
    "ReinMax",
    "Relaxation",
    "Sigmoid",
    "Softmax",
    "StraightThrough",
    "UniformGate",
    "strongest",
    "strongest_edges",
]

#: Every relaxation by the name that `supernet.relax` takes.
RELAXATIONS: dict[str, type[Relaxation]] = {
    cls.name: cls
    for cls in (
        Softmax,
        Gumbel,
        StraightThrough,
        BinaryGate,
        UniformGate,
        Index,
        Sigmoid,
        Dirichlet,
        ReinMax,
        PartialChannels,
    )
}
