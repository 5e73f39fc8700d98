"""The supernet: the user's model with every choice inside, called and trained like the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modularnas import _core
from modularnas.errors import SpaceError
from modularnas.nn import Elastic, MixedOp, Relaxation
from modularnas.transform.relaxed import Alpha, Relaxed, find_relaxation
from modularnas.transform.report import Report

__all__ = ["Supernet"]

#: Paths drawn at once for training; one call of the native half in so many steps.
_PATHS = 1024


class Supernet(nn.Module):
    """A weight-sharing supernet; made by `mn.rewrite`.

    Called like the given model, it runs the network of the active point. All parameters of all choices are its
    parameters. Attributes of the model that it does not have itself are found as well (`supernet.config`).

    Attributes:
        model: the rewritten model.
        space: the search space.
        original_point: the given architecture; None if it is not among the choices.
        alpha: the architecture parameters by decision, made by the first `relax`; in the `state_dict`.
        edge_alpha: parameters of the edges of nodes, by decision, where a relaxation weighs them.
        relaxed: the state of the relaxation; None while the active point runs.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: _core.RewritePlan,
        switches: Sequence[Sequence[tuple[Any, Sequence[Any]]]],
        parts: Mapping[str, Elastic],
        costs: dict[str, dict[str, dict[str, int]]],
    ) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._plan = plan
        self._switches = list(switches)  # by decision: the modules that obey it, and what to activate at each code
        self._parts = dict(parts)  # the elastic modules, by their path in the given model
        self._cut_by: list[list[str]] = [[] for _ in switches]
        for path, part in parts.items():
            for decision in part.decisions:
                self._cut_by[decision].append(path)
        self._costs = costs  # of the candidates, by path and name
        self._space = plan.with_costs(costs)
        self._codes: tuple[int, ...] = (-2,) * len(self._switches)
        self._seed: int | None = None
        self._step = 0
        self._paths: tuple[int, NDArray[np.int32]] | None = None
        self.alpha = Alpha()
        self.edge_alpha = Alpha()
        self.relaxed: Relaxed | None = None
        self.activate(self.original_point or self.space.sample(seed=0))

    @property
    def space(self) -> _core.SearchSpace:
        """The search space, with the exact costs of every point: `params`, `macs`, `activation_bytes`."""
        return self._space

    @property
    def original_point(self) -> _core.Point | None:
        """The given architecture, with exactly the given model's outputs; None if it is not among the choices."""
        original = self._plan.original
        return None if original is None else self._space.point(original)

    @property
    def active_point(self) -> _core.Point:
        """The point whose network runs."""
        return self.space.point_at(self._codes)

    def activate(self, point: _core.Point | dict[str, Any]) -> Supernet:
        """Makes the network of a point the one that runs, which leaves a relaxation; returns the supernet.

        Raises:
            SpaceError: if it is no point of this space.
        """
        codes = self.space.indices([point])[0].tolist()
        self._leave()
        self._switch(codes)
        return self

    def relax(
        self,
        relaxation: str | Relaxation = "softmax",
        *,
        seed: int = 0,
        candidates: Mapping[str, Sequence[Any]] | None = None,
        drop: Mapping[str, float] | None = None,
        **settings: Any,
    ) -> Supernet:
        """Weighs choices by the architecture parameters `alpha` from now on, until `activate` or `sampling`.

        Mixed ops weigh their candidates, blocks that may be left out are weighed against passing on, kernel sizes
        mix; widths stay as in the active point. Parameters that are not there yet start near zero.

        Args:
            relaxation: "softmax", "gumbel", "straight_through", "binary_gate", "uniform_gate", "index", "sigmoid",
                "dirichlet", "reinmax" or "partial_channels" (`modularnas.nn.relax`), or one that is made.
            seed: of the parameters' start and of everything that is drawn.
            candidates: decisions that weigh only some of their choices.
            drop: in train mode, rates of drop-path behind candidates, such as `{"identity": 0.3}`.
            settings: those of the relaxation, such as `temperature=5.0`.

        Raises:
            RuleError: if there is no such relaxation or setting, or nothing that can be relaxed.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
            >>> rules = [mn.rules.replace(nn.Conv2d, ["conv_3x3", "conv_1x1"])]
            >>> supernet = mn.rewrite(net, rules, example=torch.randn(1, 3, 8, 8)).relax("softmax")
            >>> supernet(torch.randn(2, 3, 8, 8)).sum().backward()
            >>> supernet.alpha["0.op"].grad.shape
            torch.Size([2])
        """
        made = find_relaxation(relaxation, settings)
        self.sampling(None)
        self._leave()
        self.relaxed = Relaxed(self, made, seed=seed, candidates=candidates, drop=drop)
        return self

    def _leave(self) -> None:
        if self.relaxed is not None:
            codes = self._codes
            self.relaxed.leave()
            self.relaxed = None
            self._codes = (-2,) * len(codes)
            self._switch(codes)

    def _obeying(self, decision: int) -> list[tuple[Any, Sequence[Any]]]:
        """The modules that obey a decision, each with what is active at each code."""
        switch = self._switches[decision]
        if switch is None:
            return []
        return [(switch, range(len(switch.names)))] if isinstance(switch, MixedOp) else list(switch)

    def _switch(self, codes: Sequence[int]) -> None:
        changed: dict[str, None] = {}
        for decision, (code, active) in enumerate(zip(codes, self._codes, strict=True)):
            if code == active or code < 0:
                continue
            for module, states in self._switches[decision]:
                module.activate(states[code])
            changed.update(dict.fromkeys(self._cut_by[decision]))
        for path in changed:
            self._parts[path].activate(codes)
        self._codes = tuple(codes)

    def sampling(self, policy: str | None, seed: int = 0) -> Supernet:
        """Draws a path by itself in every forward in train mode, so that an existing loop trains all choices.

        The path is a function of seed and step alone: all processes of a distributed run take the same one, and a
        run that is resumed from `state_dict` goes on where it was.

        Args:
            policy: `"uniform"`: every decision uniform over its values (single path one-shot; Guo et al. 2019, arXiv
                1904.00420); None: off, the active point is trained.
            seed: the seed of the paths.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
            >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=torch.randn(1, 3, 8, 8))
            >>> _ = supernet.train().sampling("uniform", seed=0)
            >>> len({(supernet(torch.randn(1, 3, 8, 8)), supernet.active_point)[1] for _ in range(20)})
            2
        """
        if policy not in (None, "uniform"):
            raise SpaceError(f"sampling is given {policy!r}; expected 'uniform' or None")
        if policy is not None:
            self._leave()
        self._seed = None if policy is None else int(seed)
        self._step = 0
        self._paths = None
        return self

    def _draw(self) -> None:
        assert self._seed is not None
        if self._paths is None or not 0 <= self._step - self._paths[0] < _PATHS:
            self._paths = (self._step, self.space.sample_indices(self._seed, self._step, _PATHS))
        first, rows = self._paths
        self._switch(rows[self._step - first].tolist())
        self._step += 1

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the given model's, with the active point's network, or everything weighed while it is relaxed."""
        if self.relaxed is not None:
            self.relaxed.draw()
        elif self.training and self._seed is not None:
            self._draw()
        return self.model(*args, **kwargs)

    def cost(self, points: Any) -> dict[str, Any]:
        """Exact costs for the shape of the example: `params`, `macs`, `activation_bytes`.

        Args:
            points: one point (the costs are ints), a list of points, or an int32 array of `space.indices` of shape
                (n, decisions) (the costs are int64 arrays of shape (n,)).

        `macs` is half of what `torch.utils.flop_counter` counts; `activation_bytes` are those of the outputs of all
        leaf modules.
        """
        return self._space.cost(points)

    def derive(self, point: Any, *, share: bool = False) -> nn.Module:
        """The plain network of a point, as `mn.derive`.

        Args:
            point: a point of `space`.
            share: whether weights are views of the supernet's instead of copies; for reading only.
        """
        from modularnas.transform.derive import derive

        return derive(self, point, share=share)

    def report(self) -> Report:
        """What can vary and what cannot, and why; text, and HTML in a notebook."""
        return Report(self)

    def get_extra_state(self) -> Tensor:
        """The step of the sampling, as a tensor (tools expect tensors in a `state_dict`)."""
        return torch.tensor(self._step)

    def set_extra_state(self, state: Tensor) -> None:
        """Goes on at the step of a `state_dict`."""
        self._step = int(state)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Architecture parameters are made by relax; those that a state has are made here.
        known = {decision.name for decision in self.space.decisions}
        for name, into in (("alpha", self.alpha), ("edge_alpha", self.edge_alpha)):
            start = f"{prefix}{name}."
            for key, values in state_dict.items():
                decision = into.key(key.removeprefix(start))
                if key.startswith(start) and decision not in into and decision in known:
                    into[decision] = nn.Parameter(torch.empty_like(values), requires_grad=self.relaxed is not None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_space"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._space = self._plan.with_costs(self._costs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            model = self.__dict__.get("_modules", {}).get("model")
            if model is None or name.startswith("__"):
                raise
            return getattr(model, name)

    def extra_repr(self) -> str:
        """The size of the space."""
        return repr(self.space)
