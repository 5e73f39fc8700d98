"""A relaxed supernet: every choice is weighed by architecture parameters instead of being made.

Mixed ops weigh their candidates, blocks that may be left out are weighed against passing on, and kernel sizes, which
are centres of one weight, become one kernel under a weighed mask: a convolution is linear in its kernel, so that is
the weighted sum of the convolutions. Nodes that choose some of their edges keep all of them. Widths stay at the active
point: what leaves fewer channels changes the layers around it, too.

The gates of all decisions are computed at once at the start of a forward; randomness is a function of seed and step.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from modularnas import _core
from modularnas.errors import RuleError
from modularnas.nn import RELAXATIONS, Elastic, MixedOp, Paths, Relaxation, Skippable
from modularnas.nn.relax import PartialChannels, strongest, strongest_edges
from modularnas.nn.relax.partial_channels import shrink, unshrink

if TYPE_CHECKING:
    from modularnas.transform.supernet import Supernet

__all__ = ["Alpha", "Relaxed"]

#: The actions of a plan whose decisions have architecture parameters.
RELAXABLE = ("choice", "depth", "kernel")
#: The candidate that is no connection.
NONE = "none"
#: The standard deviation of new architecture parameters (DARTS' code).
_DEVIATION = 1e-3


class Alpha(nn.ParameterDict):
    """Architecture parameters by decision. Names of decisions have dots, which torch forbids in those of parameters."""

    def _key_to_attr(self, key: str) -> str:
        return key.replace(".", "/")

    @staticmethod
    def key(attribute: str) -> str:
        """The name of the decision behind a name of a parameter."""
        return attribute.replace("/", ".")


def find_relaxation(name: str | Relaxation, settings: Mapping[str, Any]) -> Relaxation:
    """The relaxation of a name."""
    if isinstance(name, Relaxation):
        return name
    if name not in RELAXATIONS:
        near = difflib.get_close_matches(str(name), RELAXATIONS, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {sorted(RELAXATIONS)}"
        raise RuleError(f"relax is given {name!r}; {hint}")
    try:
        return RELAXATIONS[name](**settings)
    except (TypeError, ValueError) as error:
        raise RuleError(f"relax cannot make {name!r}: {error}") from error


class Relaxed:
    """The state of a relaxed supernet, `supernet.relaxed`.

    Attributes:
        relaxation: how candidates are weighed.
        candidates: of each relaxed decision, the codes that are weighed; all unless narrowed.
        edges: of each decision that takes some of the edges of a node, the mixed op of each edge, in every cell.
        drop: rates of drop-path by candidate; may be changed at any time.
        shift: by decision, what is added to the weights of its candidates (a perturbation); may be changed at any time.
        drawn: the point of the last forward, if its relaxation draws single paths.
        step: draws so far; with the seed it gives the randomness.
    """

    def __init__(
        self,
        supernet: Supernet,
        relaxation: Relaxation,
        *,
        seed: int,
        candidates: Mapping[str, Sequence[Any]] | None,
        drop: Mapping[str, float] | None,
    ) -> None:
        self.relaxation = relaxation
        self.drop = dict(drop or {})
        self.shift: dict[str, Tensor] = {}
        self.seed = seed
        self.step = 0
        self._supernet = [supernet]  # no cycle of modules
        self._shrunk: list[nn.Module] = []
        self._masks: dict[str, Tensor] = {}
        space = supernet.space
        self._actions: dict[str, list[dict[str, Any]]] = {}
        for action in supernet._plan.actions:
            self._actions.setdefault(space.decisions[action["decision"]].name, []).append(action)
        self._index = {decision.name: i for i, decision in enumerate(space.decisions)}
        self._labels = {name: _labels(space[name], actions[0]) for name, actions in self._actions.items()}
        relaxable = [name for name, actions in self._actions.items() if actions[0]["action"] in RELAXABLE]
        if not relaxable:
            raise RuleError(
                "the supernet has no decision that can be relaxed; those of mn.rules.replace, slots, kernel_size and "
                "depth can, widths cannot"
            )
        self.candidates = {name: tuple(range(len(self._labels[name]))) for name in relaxable}
        for name, kept in (candidates or {}).items():
            self.narrow(name, kept)
        self.edges = {
            name: [_edge_ops(supernet, action) for action in actions]
            for name, actions in self._actions.items()
            if actions[0]["action"] == "subset"
        }
        self._drawn: dict[str, int] | None = None
        _add_parameters(supernet, {name: len(self._labels[name]) for name in relaxable}, supernet.alpha, seed)
        self._edge_weights = isinstance(relaxation, PartialChannels) and relaxation.edges
        if self._edge_weights:
            counts = {name: len(ops[0]) for name, ops in self.edges.items()}
            _add_parameters(supernet, counts, supernet.edge_alpha, seed + 1)
        self.enter()

    @property
    def supernet(self) -> Supernet:
        """The supernet."""
        return self._supernet[0]

    def narrow(self, name: str, kept: Sequence[Any]) -> None:
        """Weighs only some candidates of a decision from now on.

        Raises:
            RuleError: for an unknown decision or candidate, or if none is kept.
        """
        if name not in self.candidates:
            raise RuleError(f"'{name}' is no relaxed decision; there are {list(self.candidates)}")
        labels = self._labels[name]
        unknown = [label for label in kept if label not in labels]
        if unknown or not kept:
            raise RuleError(f"'{name}' is to keep {list(kept)}; expected one or more of {list(labels)}")
        self.candidates[name] = tuple(code for code, label in enumerate(labels) if label in kept)

    def modules(self, name: str) -> list[Any]:
        """The modules that obey a decision: mixed ops, blocks that may be left out, or elastic ones."""
        supernet, decision = self.supernet, self._index[name]
        found = [module for module, _ in supernet._switches[decision]]
        return found or [supernet._parts[path] for path in supernet._cut_by[decision]]

    def parameters(self) -> dict[str, Tensor]:
        """What a search learns: the parameters of every decision, and those of edges (`name [edges]`)."""
        found: dict[str, Tensor] = dict(self.supernet.alpha.items())
        if self._edge_weights:
            found.update({f"{name} [edges]": alpha for name, alpha in self.supernet.edge_alpha.items()})
        return found

    def enter(self) -> None:
        """Puts the supernet's modules into relaxed state."""
        supernet = self.supernet
        for name, kept in self.candidates.items():
            for module in self.modules(name):
                if isinstance(module, MixedOp):
                    module.drop = self.drop
                    self._share(name, module)
                elif isinstance(module, Elastic):
                    codes = list(supernet._codes)
                    codes[self._index[name]] = max(kept, key=lambda code: self._labels[name][code])
                    module.activate(codes)
                    self._masks[name] = _kernel_masks(module, self._index[name], codes, len(self._labels[name]))
        for name in self.edges:
            for module, _ in supernet._switches[self._index[name]]:
                module.keep_all()
        for parameter in (*supernet.alpha.values(), *supernet.edge_alpha.values()):
            parameter.requires_grad_(True)

    def leave(self) -> None:
        """Undoes `enter`."""
        unshrink(self._shrunk)
        self._shrunk = []
        for name in self.candidates:
            for module in self.modules(name):
                if isinstance(module, MixedOp):
                    module.paths, module.scale, module.share, module.drop = None, None, 1, {}
                elif isinstance(module, Skippable):
                    module.paths = None
                else:
                    module.weigh("weight", None)
        for parameter in (*self.supernet.alpha.values(), *self.supernet.edge_alpha.values()):
            parameter.requires_grad_(False)

    def _share(self, name: str, mixed: MixedOp) -> None:
        if not isinstance(self.relaxation, PartialChannels) or self.relaxation.share == 1:
            return
        mixed.share = self.relaxation.share
        for label, candidate in zip(mixed.names, mixed.candidates, strict=True):
            try:
                self._shrunk += shrink(candidate, mixed.share)
            except ValueError as error:
                unshrink(self._shrunk)
                raise RuleError(
                    f"partial_channels cannot run candidate '{label}' of '{name}' on 1 / {mixed.share} of its "
                    f"channels: {error}"
                ) from error

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Within it, candidates of which a share of the channels runs are whole, so that they can be copied."""
        unshrink(self._shrunk)
        self._shrunk = []
        try:
            yield
        finally:
            for name in self.candidates:
                for module in self.modules(name):
                    if isinstance(module, MixedOp):
                        self._share(name, module)

    def draw(self) -> None:
        """Gives every module its weights for one forward."""
        supernet = self.supernet
        generator = None
        if supernet.training and self.relaxation.draws:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) % 2**63)
            self.step += 1
        groups: dict[int, list[str]] = {}
        for name, kept in self.candidates.items():
            groups.setdefault(len(kept), []).append(name)
        self._drawn = {} if self.relaxation.n_paths == 1 else None
        for names in groups.values():
            gates = self.relaxation.gates(torch.stack([self._logits(name) for name in names]), generator)
            weights = [None] * len(names) if gates.weights is None else gates.weights.unbind()
            for i, (name, of_name) in enumerate(zip(names, weights, strict=True)):
                kept = self.candidates[name]
                codes = kept if gates.paths is None else [kept[at] for at in gates.paths[i]]
                watched = () if gates.watched is None else [kept[at] for at in gates.watched[i]]
                if of_name is not None and name in self.shift:
                    of_name = of_name + self.shift[name]
                if self._drawn is not None:
                    self._drawn[name] = codes[0]
                self._place(name, Paths(of_name, kept, codes, watched))
        if self._edge_weights:
            for name, cells in self.edges.items():
                scales = torch.softmax(supernet.edge_alpha[name], -1).unbind()
                for ops in cells:
                    for mixed, scale in zip(ops, scales, strict=True):
                        mixed.scale = scale

    def _logits(self, name: str) -> Tensor:
        alpha: Tensor = self.supernet.alpha[name]
        kept = self.candidates[name]
        return alpha if len(kept) == len(alpha) else alpha[list(kept)]

    def _place(self, name: str, paths: Paths) -> None:
        kind = self._actions[name][0]["action"]
        if kind == "choice":
            for mixed in self.modules(name):
                mixed.paths = paths
        elif kind == "depth":
            for block, present in self.supernet._switches[self._index[name]]:
                block.paths = _presence(paths, present)
        else:
            for conv in self.modules(name):
                masks = self._masks[name]
                if paths.weights is None:
                    mask = masks[paths.codes[0]]
                else:
                    of_kept = masks[list(paths.kept)]
                    mask = torch.tensordot(paths.weights, of_kept.to(paths.weights), 1)
                conv.weigh("weight", mask.to(conv.whole("weight")))

    def probabilities(self) -> dict[str, Tensor]:
        """How much each choice of each relaxed decision counts, one value a choice in their order; 0 where narrowed."""
        found = {}
        for name, kept in self.candidates.items():
            logits = self._logits(name)
            weights = self.relaxation.probabilities(logits[None])[0]
            found[name] = (
                torch.zeros(len(self._labels[name]))
                .to(weights)
                .index_put((torch.tensor(kept, device=weights.device),), weights)
            )
        return found

    def labelled(self) -> dict[str, dict[Any, float]]:
        """The probabilities by choice, as numbers; of candidates that are kept."""
        return {
            name: {self._labels[name][code]: weights[code] for code in self.candidates[name]}
            for name, weights in ((name, weights.tolist()) for name, weights in self.probabilities().items())
        }

    @torch.no_grad()
    def point(self) -> _core.Point:
        """The discrete architecture: the strongest choice of every relaxed decision.

        Of a node that takes some of its edges, those whose strongest candidates other than "none" are strongest
        (times the weight of the edge, where it has one), and these candidates; decisions that are not relaxed are as
        in the active point.
        """
        weights = self.labelled()
        values: dict[str, Any] = {}
        on_edges: set[str] = set()
        of_mixed = {id(mixed): name for name in self.candidates for mixed in self.modules(name)}
        for name, cells in self.edges.items():
            names = [of_mixed[id(mixed)] for mixed in cells[0]]
            on_edges.update(names)
            scales = [1.0] * len(names)
            if self._edge_weights:
                scales = torch.softmax(self.supernet.edge_alpha[name], -1).tolist()
            scaled = [
                {label: weight * scale for label, weight in weights[edge].items()}
                for edge, scale in zip(names, scales, strict=True)
            ]
            # The values of the decision are sorted tuples of positions.
            values[name] = tuple(strongest_edges(scaled, len(self._labels[name][0]), [NONE]))
        for name, of_name in weights.items():
            values[name] = strongest(of_name, 1, [NONE] if name in on_edges else [])[0]
        return self.settled(values)

    def settled(self, values: Mapping[str, Any]) -> _core.Point:
        """The point with these values where decisions are active; others as in the active point, else the first."""
        space, active = self.supernet.space, self.supernet.active_point
        settled: dict[str, Any] = {}
        for decision in space.decisions:
            if decision.active_if is not None:
                parent, when = decision.active_if
                if parent not in settled or settled[parent] not in when:
                    continue
            known = values.get(decision.name, active.get(decision.name))
            settled[decision.name] = self._labels[decision.name][0] if known is None else known
        return space.point(settled)

    @property
    def drawn(self) -> _core.Point | None:
        """The point of the last forward, if single paths are drawn."""
        if self._drawn is None:
            return None
        return self.settled({name: self._labels[name][code] for name, code in self._drawn.items()})

    def log_probability(self) -> Tensor:
        """The logarithm of the probability of the path that was drawn last, over its active decisions."""
        if self._drawn is None:
            raise RuleError(f"{self.relaxation!r} draws no single path, so there is no probability of one")
        point, probabilities = self.drawn, self.probabilities()
        assert point is not None
        logs = [probabilities[name][code].log() for name, code in self._drawn.items() if name in point]
        return torch.stack(logs).sum()

    def expected_cost(self, metric: str) -> Tensor:
        """The expected cost of a point whose relaxed decisions are drawn by their probabilities; differentiable, exact.

        A cost is a sum of products of table entries, a factor a decision, and the decisions are independent: so the
        expectation of each product is the product of expectations. Decisions that are not relaxed are as in the active
        point; a node that takes some of its edges draws them uniformly.

        Args:
            metric: "params", "macs", "activation_bytes", or a cost attached to the space by `with_cost`.
        """
        supernet, space = self.supernet, self.supernet.space
        probabilities = self.probabilities()
        reference = next(iter(probabilities.values()))
        fixed = space.indices([supernet.active_point])[0].tolist()
        distributions = []
        for name, code in zip(self._index, fixed, strict=True):
            if name in probabilities:
                distributions.append(probabilities[name])
            else:
                distribution = torch.zeros(len(self._labels[name])).to(reference)
                if name in self.edges:
                    distribution += 1 / len(distribution)
                elif code >= 0:
                    distribution[code] = 1
                distributions.append(distribution)
        total = torch.zeros(()).to(reference)
        for coefficient, factors in space.cost_terms(metric):
            tables: dict[int, Tensor] = {}
            pending = [(decision, torch.tensor(table).to(reference)) for decision, table in factors]
            while pending:
                decision, table = pending.pop()
                if decision in tables:
                    tables[decision] = tables[decision] * table
                    continue
                tables[decision] = table
                condition = space.decisions[decision].active_if
                if condition is not None:  # an inactive decision makes the term vanish
                    parent, values = condition
                    pending.append((self._index[parent], self._indicator(parent, values).to(reference)))
            term = torch.tensor(coefficient).to(reference)
            for decision, table in tables.items():
                term = term * (distributions[decision] * table).sum()
            total = total + term
        return total

    def _indicator(self, name: str, values: Sequence[Any]) -> Tensor:
        return torch.tensor([float(label in values) for label in self._labels[name]])


def _labels(decision: _core.Decision, action: dict[str, Any]) -> tuple[Any, ...]:
    """The values of a decision, in the order of their codes."""
    choices = decision.choices
    assert choices is not None
    if action["action"] != "subset":
        return tuple(choices)
    take = sum(present[0] for _, present in action["blocks"])
    return tuple(itertools.combinations(choices, take))


def _edge_ops(supernet: Supernet, action: dict[str, Any]) -> list[MixedOp]:
    """The mixed op of each edge of a node."""
    ops = []
    for path, _ in action["blocks"]:
        found = [m for m in supernet.model.get_submodule(path).modules() if isinstance(m, MixedOp)]
        if not found:
            raise RuleError(f"the edge '{path}' has no mixed op, so its strength among the edges of a node is unknown")
        ops.append(found[0])
    return ops


def _add_parameters(supernet: Supernet, counts: Mapping[str, int], into: Alpha, seed: int) -> None:
    """Makes the parameters that are missing, near zero; the same for one seed."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    reference = next((p for p in supernet.parameters() if p.is_floating_point()), torch.zeros(()))
    for name, count in counts.items():
        values = _DEVIATION * torch.randn(count, generator=generator, dtype=torch.float64)
        if name not in into:
            into[name] = nn.Parameter(values.to(device=reference.device, dtype=reference.dtype))


def _presence(paths: Paths, present: Sequence[bool]) -> Paths:
    """The paths of a block that is there at some codes: its own weight (code 0), and that of passing on (code 1)."""

    def sides(codes: Sequence[int]) -> list[int]:
        return sorted({0 if present[code] else 1 for code in codes})

    weights = None
    if paths.weights is not None:
        here = torch.tensor([[present[code], not present[code]] for code in paths.kept]).to(paths.weights)
        weights = paths.weights @ here
    codes = sides(paths.codes)
    return Paths(weights, (0, 1), codes, [side for side in sides(paths.watched) if side not in codes])


def _kernel_masks(conv: Elastic, decision: int, codes: Sequence[int], count: int) -> Tensor:
    """Ones where the kernel of each code is, within the kernel of the codes: `(count, *kernel)`."""
    masks = []
    cuts = sorted((c for c in conv.cuts if c.name == "weight" and decision in c.decisions), key=lambda c: c.dim)
    for code in range(count):
        mask = torch.ones(())
        for cut in cuts:
            ((outer, size),) = cut.ranges(codes)
            ((start, length),) = cut.ranges([*codes[:decision], code, *codes[decision + 1 :]])
            along = torch.zeros(size)
            along[max(0, start - outer) : max(0, start - outer + length)] = 1
            mask = mask[..., None] * along
        masks.append(mask)
    return torch.stack(masks)
