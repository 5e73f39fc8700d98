"""Random numbers of one evaluation: a function of a seed, and none taken from the user's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["isolated"]


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seeds the generators of torch (all devices), NumPy and Python inside, and puts back their states after.

    The generators belong to the process: with several threads at once only the user's states are kept, the numbers
    inside depend on the order.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
