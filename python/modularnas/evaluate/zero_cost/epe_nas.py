"""How alike the network answers to inputs of one class: correlations between rows of the Jacobian, class by class.

Lopes, Alirezazadeh and Alexandre 2021, "EPE-NAS: Efficient Performance Estimation Without Training for Neural
Architecture Search" (arXiv 2102.08099), section 3: of each class the score is the sum of log(|correlation| + k), k =
1e-5, over its correlation matrix (with more than 100 classes divided by their number of entries);  the network's is
the sum of their absolute values for up to 100 classes, and for more the sum of absolute differences over pairs of
classes, over their number.
"""

from modularnas.errors import EvaluationError
from modularnas.evaluate.zero_cost.jacobian import correlations, jacobian
from modularnas.evaluate.zero_cost.proxy import Probe, register

__all__ = ["epe_nas"]

_MANY_CLASSES = 100


@register("epe_nas")
def epe_nas(probe: Probe) -> float:
    """Correlations between gradients of inputs of the same class; needs classes as targets."""
    if probe.y is None or getattr(probe.y, "ndim", 0) != 1 or probe.y.is_floating_point():
        raise EvaluationError("epe_nas needs the class of every input; give batch=(x, y) with y of shape (N,)")
    rows = jacobian(probe)
    classes = probe.y.unique()
    many = len(classes) > _MANY_CLASSES
    scores = []
    for one in classes:
        logs = (correlations(rows[probe.y == one]).abs() + 1e-5).log()
        scores.append((logs.mean() if many else logs.sum()).item())
    if not many:
        return sum(map(abs, scores))
    pairs = [abs(a - b) for i, a in enumerate(scores) for b in scores[:i]]
    return sum(pairs) / len(scores)
