"""From the largest network to all: decisions open stage by stage.

Cai et al. 2020, "Once-for-All: Train One Network and Specialize it for Efficient Deployment", arXiv 1908.09791, section
3.3 (progressive shrinking): first the largest network is trained, then kernel sizes become elastic, then depths, then
widths, the two latter in two phases of which the first leaves out the smallest value; and every smaller network also
learns from the largest. A stage here is a number of steps and the decisions that are open, by patterns of their names,
each with how many of its largest values. When widths open, channels are sorted by importance; kernels shrink in a
learned way after `supernet.learn_kernels()`. As in the authors' code a step trains several random networks (four while
widths are open, else one), the teacher is the largest network as it was when the first decision opened, and the soft
loss is added to that of the labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas.errors import SpaceError
from modularnas.train.distillation import Distance, captured, logits, soft_cross_entropy
from modularnas.train.strategy import Backward, LossFunction, Strategy, labels, largest, settled, unwrapped

__all__ = ["ProgressiveShrinking", "ShrinkingStage", "shrinking_stages"]


@dataclass(frozen=True)
class ShrinkingStage:
    """A stage of progressive shrinking.

    Attributes:
        steps: how many steps it lasts.
        open: patterns of decision names to how many of their largest values may be drawn; None: all.
        n_paths: networks a step.
        sort_channels: whether channels are sorted by importance when it begins.
    """

    steps: int
    open: Mapping[str, int | None] = field(default_factory=dict)
    n_paths: int = 1
    sort_channels: bool = False


def shrinking_stages(steps: int, *, phases: int = 2) -> list[ShrinkingStage]:
    """The stages of Once-for-All, of `steps` steps each: everything whole, then kernels, depths and widths.

    Example:
        >>> [list(stage.open) for stage in mn.train.shrinking_stages(100, phases=1)][:2]
        [[], ['*kernel_size']]
    """
    stages = [ShrinkingStage(steps), ShrinkingStage(steps, {"*kernel_size": None})]
    known: dict[str, int | None] = {"*kernel_size": None}
    for names, n_paths in ((("*depth",), 2), (("*width", "*expansion"), 4)):
        for phase in range(phases):
            now = None if phase == phases - 1 else phase + 2
            opened = {**known, **dict.fromkeys(names, now)}
            stages.append(ShrinkingStage(steps, opened, n_paths, sort_channels=n_paths == 4 and phase == 0))
        known.update(dict.fromkeys(names))
    return stages


class ProgressiveShrinking(Strategy):
    """Opens decisions stage by stage.

    Args:
        stages: the stages; after the last one it goes on.
        distill: whether smaller networks also learn from the largest; or the loss to use, `distill(student, teacher)`.
        teacher: the network to learn from; None: a copy of the largest when the first decision opens.
        weight: of the soft loss.
        seed: the seed of the paths.

    Raises:
        SpaceError: without stages.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=torch.randn(1, 3, 8, 8))
        >>> stage = mn.train.ShrinkingStage
        >>> strategy = mn.train.ProgressiveShrinking([stage(100), stage(100, {"*": None})])
        >>> strategy.paths(supernet.space, seed=0, step=99)
        array([[1]], dtype=int32)
    """

    name = "progressive"

    def __init__(
        self,
        stages: Sequence[ShrinkingStage],
        *,
        distill: bool | Distance = True,
        teacher: nn.Module | None = None,
        weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        if not stages:
            raise SpaceError("progressive shrinking is given no stages; give mn.train.shrinking_stages(steps)")
        self.stages = tuple(stages)
        self.distance = soft_cross_entropy if distill is True else distill or None
        self.teacher = teacher
        self.weight = weight
        self._sorted: set[int] = set()
        self._known: tuple[Any, list[int], list[list[list[int]]]] | None = None
        self._soft: Tensor | None = None

    def stage(self, step: int | None = None) -> int:
        """The index of the stage of a step; None: of the next one."""
        step = self.n_steps if step is None else step
        ends = itertools.accumulate(stage.steps for stage in self.stages[:-1])
        return sum(end <= step for end in ends)

    def n_paths(self, space: Any) -> int:
        """One, where the caller's loop draws: the number of forwards says the step."""
        return 1

    def paths(self, space: Any, seed: int, step: int) -> NDArray[np.int32]:
        """Random networks within what is open."""
        if self._known is None or self._known[0] is not space:
            whole = largest(space)
            self._known = (space, whole, [_allowed(space, stage, whole) for stage in self.stages])
        allowed = self._known[2][self.stage(step)]
        rng = np.random.default_rng([seed, step])
        rows = [
            settled(space, [codes[rng.integers(len(codes))] for codes in allowed])
            for _ in range(self.stages[self.stage(step)].n_paths)
        ]
        return np.array(rows, dtype=np.int32)

    def step(
        self, supernet: nn.Module, loss_fn: LossFunction, batch: Any, *, backward: Backward | None = None
    ) -> Tensor:
        """As every strategy's; begins a stage where it is due."""
        net, stage = unwrapped(supernet), self.stage()
        if self.stages[stage].sort_channels and stage not in self._sorted:
            self._sorted.add(stage)
            net.sort_channels()
        self._soft = None
        if self.distance is not None and self.stages[stage].open:
            if self.teacher is None:
                self.teacher = net.derive(net.space.point_at(largest(net.space)))
            self.teacher.train(net.training)
            with torch.no_grad(), captured(self.teacher) as outputs:
                loss_fn(self.teacher, batch)
            self._soft = logits(outputs)
        return super().step(supernet, loss_fn, batch, backward=backward)

    def loss(self, supernet: nn.Module, loss_fn: LossFunction, batch: Any, turn: int) -> Tensor:
        """The user's loss and, once something is open, the distance to the teacher."""
        if self._soft is None or self.distance is None:
            return loss_fn(supernet, batch)
        with captured(supernet) as outputs:
            loss = loss_fn(supernet, batch)
        return loss + self.weight * self.distance(logits(outputs), self._soft)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs; the teacher is a module, save it as one."""
        return {**super().state_dict(), "sorted": sorted(self._sorted)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on at the step of a `state_dict`."""
        super().load_state_dict(state)
        self._sorted = set(state["sorted"])


def _allowed(space: Any, stage: ShrinkingStage, whole: list[int]) -> list[list[int]]:
    """The codes that each decision may take in a stage."""
    allowed = []
    for decision, code in zip(space.decisions, whole, strict=True):
        pattern = next((p for p in stage.open if fnmatchcase(decision.name, p)), None)
        if pattern is None:
            allowed.append([max(code, 0)])
            continue
        values = labels(decision)
        sizes = [_size(value, i) for i, value in enumerate(values)]
        codes = sorted(range(len(values)), key=sizes.__getitem__, reverse=True)
        allowed.append(codes[: stage.open[pattern]])
    return allowed


def _size(value: Any, order: int) -> float:
    """A number is its size; other values have the order in which they were given."""
    return float(value) if isinstance(value, (int, float)) else float(order)
