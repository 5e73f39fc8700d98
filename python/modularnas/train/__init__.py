"""Training (the paper's ω): a plain loop for whoever has none of their own."""

from modularnas.train.fit import Fit, fit, measure

__all__ = ["Fit", "fit", "measure"]
