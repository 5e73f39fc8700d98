"""Networks that grow from a given one by morphisms, as a search space.

Elsken, Metzen and Hutter 2017, "Simple and Efficient Architecture Search for Convolutional Neural Networks", arXiv
1711.04528, section 4: a child is its parent with some random morphisms (deeper with kernel 3 or 5, wider by a factor, a
skip), with the parent's weights. A search space is finite, growth is not: a point here is a sequence of morphisms that
ends at its first `"stop"`, and a morphism is a kind and a place, the n-th part of the way through those places where
that kind fits in the network so far. So any search algorithm can walk it, and the network of a point is known without
any weights. A kind that fits nowhere changes nothing. The paper also concatenates (type III); here skips add.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from modularnas import _core
from modularnas.errors import NetworkError, SpaceError
from modularnas.nn import Skip
from modularnas.transform.state.deepen import IDEMPOTENT, deepen
from modularnas.transform.state.skip import insert_skip
from modularnas.transform.state.widen import widen
from modularnas.transform.trace import Example, Trace, call_arguments, trace

__all__ = ["Morphisms"]

STOP = "stop"


class Morphisms:
    """The networks that grow from a model.

    Args:
        model: the network to start from, trained or not.
        example: a batch of data; statistics of new batch norms are measured on it.
        steps: the largest number of morphisms.
        kinds: what may happen: `"deepen_3"` (a layer with kernel 3), `"widen_2"` (a layer makes twice the channels;
            factors such as `"widen_1.5"` too), `"skip"` (a connection past a module).
        sites: how many places a kind can choose from.

    Attributes:
        space: decisions `morphism_0`, `morphism_1`, ...; each but the first is active until one is `"stop"`.

    Raises:
        SpaceError: for an unknown kind.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
        >>> x = torch.randn(4, 3, 8, 8)
        >>> morphisms = mn.transform.Morphisms(net, example=x, steps=2, sites=2)
        >>> grown = morphisms.build({"morphism_0": "widen_2@0", "morphism_1": "deepen_3@0"})
        >>> grown[0].out_channels, len(grown), torch.allclose(grown(x), net(x), atol=1e-5)
        (16, 5, True)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        example: Example,
        steps: int = 20,
        kinds: Sequence[str] = ("deepen_3", "deepen_5", "widen_2", "widen_4", "skip"),
        sites: int = 8,
    ) -> None:
        for kind in kinds:
            if not re.fullmatch(r"deepen_\d+|widen_\d+(\.\d+)?|skip", kind):
                raise SpaceError(f"{kind!r} is no kind of morphism; expected deepen_3, widen_2 or skip, or alike")
        self.model = model
        self.example = example
        self.sites = sites
        labels = [STOP, *(f"{kind}@{site}" for kind in kinds for site in range(sites))]
        decisions = {}
        for step in range(steps):
            before = None if step == 0 else (f"morphism_{step - 1}", labels[1:])
            decisions[f"morphism_{step}"] = _core.choice(labels, active_if=before)
        self.space = _core.SearchSpace(decisions)

    def build(self, point: Any, parent: tuple[Any, nn.Module] | None = None) -> nn.Module:
        """The network of a point, a new one.

        Args:
            point: a point of `space`.
            parent: a point and its trained network; if the sequence begins like the parent's, it goes on from there
                with the parent's weights, else from the given model.
        """
        sequence = self._sequence(point)
        net, known = self.model, 0
        if parent is not None:
            before = self._sequence(parent[0])
            if sequence[: len(before)] == before:
                net, known = parent[1], len(before)
        for morphism in sequence[known:]:
            net = self._apply(net, morphism)
        if net is self.model or (parent is not None and net is parent[1]):
            net = copy.deepcopy(net)
        return net

    def _sequence(self, point: Any) -> list[str]:
        values = dict(self.space.point(point) if not isinstance(point, _core.Point) else point)
        return [value for value in values.values() if value != STOP]

    def _apply(self, net: nn.Module, morphism: str) -> nn.Module:
        kind, site = morphism.split("@")
        name, _, amount = kind.partition("_")
        args, kwargs = call_arguments(self.example)
        traced = trace(net, args, kwargs)
        places = {"deepen": _deeper, "widen": _wider, "skip": _past}[name](net, traced)
        # A place where the check of the morphism fails is passed over.
        first = int(site) * len(places) // self.sites
        for place in [*places[first:], *places[:first]]:
            try:
                if name == "deepen":
                    return deepen(net, place[0], example=self.example, kernel_size=int(amount))
                if name == "skip":
                    return insert_skip(net, place[0], example=self.example)
                path, size, unit = place
                wide = max(round(float(amount) * size / unit), size // unit + 1) * unit
                return widen(net, path, wide, example=self.example, noise=0.1)
            except NetworkError:
                continue
        return net


def _deeper(net: nn.Module, traced: Trace) -> list[tuple[Any, ...]]:
    """After activations that may be applied twice."""
    return [(path,) for path in traced.calls if isinstance(net.get_submodule(path), IDEMPOTENT)]


def _wider(net: nn.Module, traced: Trace) -> list[tuple[Any, ...]]:
    """Every width that can vary: its first layer, size and the multiple that it grows by."""
    widths = _core.network_widths(traced.network)
    return [(w["layers"][0], w["size"], w["unit"]) for w in widths if w["fixed"] is None]


def _past(net: nn.Module, traced: Trace) -> list[tuple[Any, ...]]:
    """Convolutions and blocks that keep the shape and have no skip yet."""
    taken = {path for path, module in net.named_modules() if isinstance(module, Skip)}
    places = []
    for path, calls in traced.calls.items():
        module = net.get_submodule(path)
        weighted = any(True for _ in module.parameters())
        same = all(call.input_shape == call.output_shape for call in calls)
        if path and weighted and same and path not in taken and path.removesuffix(".block") not in taken:
            places.append((path,))
    return places
