"""Neural architecture search for PyTorch models."""

from modularnas._torch import check_torch

check_torch()  # before the native module is loaded

from modularnas import ops  # noqa: E402
from modularnas._core import Point, SearchSpace, __version__, choice, integer, real, subset  # noqa: E402
from modularnas.errors import *  # noqa: E402, F403
from modularnas.ops import Slot  # noqa: E402
from modularnas.transform import derive, export, load_export, rewrite, rules  # noqa: E402
