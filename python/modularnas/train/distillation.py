"""Learning from the outputs of a larger network (Hinton, Vinyals and Dean 2015, arXiv 1503.02531)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from modularnas.errors import SpaceError

__all__ = ["captured", "logits", "soft_cross_entropy"]

#: From what a student and its teacher return to a scalar loss; the teacher's is detached.
Distance = Callable[[Tensor, Tensor], Tensor]


def soft_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy with the teacher's probabilities; classes in dimension 1 as in torch's `cross_entropy`."""
    return functional.cross_entropy(student, teacher.softmax(1))


@contextmanager
def captured(net: nn.Module) -> Iterator[list[Any]]:
    """What a module returns meanwhile, call by call."""
    outputs: list[Any] = []
    hook = net.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        yield outputs
    finally:
        hook.remove()


def logits(outputs: list[Any]) -> Tensor:
    """The logits in what a network returned: its `logits`, else its first floating-point tensor.

    Raises:
        SpaceError: if there are none.
    """
    if outputs:
        found = getattr(outputs[-1], "logits", None)
        if isinstance(found, Tensor):
            return found
        for leaf in tree_leaves(outputs[-1]):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                return leaf
    raise SpaceError("distillation finds no output: loss_fn(net, batch) must call the net that it is given")
