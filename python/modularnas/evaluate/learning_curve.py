"""Learning curves: where a training that has begun will end.

A curve is taken for c + a f(t) plus noise, with f from four families that fall to 0: powers t^-b and (t + d)^-b,
stretched exponentials exp(-k t^b) and inverse logarithms 1 / log(t + 1). They are `pow3`, `pow4`, `exp4` and `ilog2`
of Domhan, Springenberg and Hutter 2015, "Speeding up Automatic Hyperparameter Optimization of Deep Neural Networks by
Extrapolation of Learning Curves" (IJCAI); the last three are the prior of LC-PFN (Adriaensen et al. 2023, arXiv
2310.20447).

Both papers average over the parameters, by sampling and by a network that was trained on samples. Here b, d and k lie
on a grid; c, a and the noise have a conjugate normal-inverse-gamma prior (Bishop 2006, section 3.3 with exercises
3.12 and 3.13), so every curve of the grid has its evidence and its Student-t prediction in closed form, and their
average is exact: no sampler, no network, the same answer every time, in a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modularnas.errors import EvaluationError

__all__ = ["extrapolate"]

_Floats = NDArray[np.float64]
_EXPONENTS = np.geomspace(0.1, 3.0, 24)
_SHIFTS = np.array([0.0, 0.1, 0.5, 2.0])  # in units of the steps seen; 0 is pow3
_RATES = np.geomspace(0.5, 20.0, 8)
#: Prior precision of (c, a) in units of the noise's, after scaling, and shape and scale of the noise's variance.
_PRECISION, _SHAPE, _SCALE = 3e-3, 1.0, 1e-3


def extrapolate(curve: ArrayLike, target: float, steps: Sequence[float] | None = None) -> tuple[float, float]:
    """The expected value of a learning curve at a later step, and its standard deviation.

    Args:
        curve: the values so far, such as accuracies or losses after each epoch; two or more.
        target: the step to predict.
        steps: the steps of the values, above 0 and rising; None: 1, 2, ...

    Raises:
        EvaluationError: for fewer than two values, values that are not finite, or steps that do not rise.

    Example:
        >>> curve = [0.9 - 0.5 / epoch for epoch in range(1, 11)]
        >>> mean, std = mn.evaluate.extrapolate(curve, target=100)
        >>> 0.86 < mean < 0.9 and std < 0.05
        True
    """
    y = np.asarray(curve, np.float64)
    t = np.arange(1.0, len(y) + 1) if steps is None else np.asarray(steps, np.float64)
    if y.ndim != 1 or len(y) < 2 or not np.isfinite(y).all():
        raise EvaluationError(f"a learning curve has shape {y.shape}; expected two or more finite values")
    if t.shape != y.shape or t[0] <= 0 or (np.diff(t) <= 0).any() or not target > 0:
        raise EvaluationError(
            f"steps are {t.tolist()} and the target {target}; expected rising steps above 0, one a value"
        )
    origin, unit = float(y[-1]), float(np.ptp(y)) or 1.0
    z = (y - origin) / unit
    shapes = _shapes(np.append(t, target) / t[-1])  # (curves, steps and the target)
    design = np.stack([np.ones_like(shapes), shapes], -1)
    x, ahead = design[:, :-1], design[:, -1]
    precision = x.swapaxes(1, 2) @ x + _PRECISION * np.eye(2)
    covariance = np.linalg.inv(precision)
    coefficients = (covariance @ (x.swapaxes(1, 2) @ z)[..., None])[..., 0]
    shape = _SHAPE + len(z) / 2
    quadratic = np.einsum("ki,kij,kj->k", coefficients, precision, coefficients)
    scale = _SCALE + np.maximum(z @ z - quadratic, 0) / 2
    evidence = -0.5 * np.linalg.slogdet(precision)[1] - shape * np.log(scale)
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    mean = (coefficients * ahead).sum(1)
    spread = 1 + np.einsum("ki,kij,kj->k", ahead, covariance, ahead)
    variance = scale / (shape - 1) * spread  # of a Student t with 2 * shape degrees of freedom
    expected = float(weight @ mean)
    total = float(weight @ (variance + mean**2)) - expected**2
    return origin + unit * expected, unit * math.sqrt(max(total, 0.0))


def _shapes(t: _Floats) -> _Floats:
    """All curves of the grid at these times, 1 at the first one; times are in units of the last step seen."""
    powers = [(t + shift) ** -exponent for shift in _SHIFTS for exponent in _EXPONENTS]
    exponentials = [np.exp(-rate * t**exponent) for rate in _RATES for exponent in (0.25, 0.5, 1.0)]
    logarithms = [1 / np.log1p(scale * t) for scale in (1.0, 10.0, 100.0)]
    curves: Any = np.array([*powers, *exponentials, *logarithms])
    scaled: _Floats = curves / curves[:, :1]
    return scaled
