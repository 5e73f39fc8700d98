"""Neural architecture search for PyTorch models."""

from modularnas._core import Point, SearchSpace, __version__, choice, integer, real, subset

__all__ = ["Point", "SearchSpace", "__version__", "choice", "integer", "real", "subset"]
