"""Work on several machines, by engines that exist: evaluation on a Ray cluster (`ray.py`)."""

from modularnas.distributed.ray import Ray

__all__ = ["Ray"]
