"""A search without knowing how: what fits the model is chosen, and said.

`opening.py` chooses rules, `wrapping.py` is for a training script that stays as it is (two lines), `auto.py` is one
call for everything. The room uses all others, and decides only what a user left open.
"""

from modularnas.automatic.auto import Automatic, auto
from modularnas.automatic.wrapping import conclude, searchable

__all__ = ["Automatic", "auto", "conclude", "searchable"]
