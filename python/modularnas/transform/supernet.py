"""The supernet: the user's model with every choice inside, called and trained like the model.

The active path may change between a forward and its backward (several paths a step, accumulation). What is computed
again in the backward (activation checkpointing) must take the path of its own forward: a hook on the outputs, the first
thing that a backward runs, makes that path active until the backward ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.autograd import Variable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from modularnas import _core
from modularnas.errors import RuleError
from modularnas.nn import Elastic, MaskedNorm, Relaxation, privatise, select
from modularnas.nn.fuse import Shared
from modularnas.train.strategy import Strategy, named
from modularnas.transform.every_gradient import every_gradient
from modularnas.transform.relaxed import Alpha, Relaxed, find_relaxation
from modularnas.transform.report import Report

__all__ = ["Supernet"]


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
        mode: `"sliced"` or `"masked"`, as given to `mn.rewrite`.
    """

    #: How inputs are resized, where their size is a decision.
    RESIZING = "bilinear"

    def __init__(
        self,
        model: nn.Module,
        plan: _core.RewritePlan,
        switches: Sequence[Sequence[tuple[Any, Sequence[Any]]]],
        parts: Mapping[str, Elastic],
        *,
        mode: str = "sliced",
        inside: Sequence[tuple[MaskedNorm, Sequence[tuple[int, Sequence[bool]]]]] = (),
        order: Mapping[str, nn.Module] | None = None,
        shared: Shared | None = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.model = model
        self.training = model.training
        self._plan = plan
        self._switches = list(switches)  # by decision: the modules that obey it, and what to activate at each code
        self._parts = dict(parts)  # the elastic modules, by their path in the given model
        self._cut_by: list[list[str]] = [[] for _ in switches]
        for path, part in parts.items():
            for decision in part.decisions:
                self._cut_by[decision].append(path)
        self._inside = list(inside)  # masked norms that are part of the network only for some codes of decisions
        self._order = dict(order or {})  # the modules of the given model by path, as they ran
        self._private: list[tuple[nn.Module, list[tuple[int, int]]]] = []  # norms: (decision, number of its codes)
        resolutions = [action for action in plan.actions if action["action"] == "resolution"]
        self._resolution = resolutions[0] if resolutions else None
        self._space = plan.with_costs()
        self._codes: tuple[int, ...] = (-2,) * len(self._switches)
        self._policy: Strategy | None = None
        self._seed = 0
        self._step = 0  # how many forwards drew a path
        self._paths: tuple[int, NDArray[np.int32]] | None = None  # those of a step
        self._interrupted: tuple[int, ...] | None = None  # the active codes that a backward puts aside
        self.alpha = Alpha()
        self.edge_alpha = Alpha()
        self.relaxed: Relaxed | None = None
        self._shared = shared  # what fused forms have in common; None for plain forms
        self.activate(self.original_point or self.space.sample(seed=0))
        if mode == "masked":  # what is inactive runs as well
            for part in parts.values():
                part.activate(self._codes)

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
        if self.mode == "masked" or any(part.learned_sizes for part in self._parts.values()):
            what = 'of mode="masked"' if self.mode == "masked" else "whose kernels shrink in a learned way"
            raise RuleError(f"a supernet {what} cannot be relaxed; rewrite the model anew for it")
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
        for norm, regions in self._inside:
            present = all(codes[decision] >= 0 and flags[codes[decision]] for decision, flags in regions)
            norm.say_present(present)
        self._codes = tuple(codes)
        self._select()

    def _select(self) -> None:
        """Every norm with statistics for each choice uses those of the active point."""
        for norm, key in self._private:
            row = 0
            for decision, n in key:
                row = row * n + max(self._codes[decision], 0)
            select(norm, row)

    def private_batch_norm(self) -> Supernet:
        """Gives every batch norm running statistics of its own for each choice that it sees; call it before training.

        Switchable batch normalisation (Yu et al. 2018, arXiv 1812.08928, section 3.2). The choices are those of the
        norm itself and of the last layer before it: width, kernel size, op; norms of candidate ops are their own
        anyway. What lies further above still mixes. `mn.evaluate.SharedWeights(batch_norm="private")` uses them.
        """
        if self._private:
            return self
        own: dict[str, set[int]] = {path: set(part.decisions) for path, part in self._parts.items()}
        for action in self._plan.actions:
            if action["action"] in ("choice", "kernel"):
                own.setdefault(action["path"], set()).add(action["decision"])
        before: set[int] = set()
        for path, module in self._order.items():
            if isinstance(module, _BatchNorm) and module.track_running_stats:
                decisions = sorted(own.get(path, set()) | before)
                choices = [self.space.decisions[decision].choices for decision in decisions]
                key = [(decision, len(c)) for decision, c in zip(decisions, choices, strict=True) if c is not None]
                privatise(module, prod(n for _, n in key))
                self._private.append((module, key))
            elif path in own or module._parameters:
                before = own.get(path, set())
        self._select()
        return self

    def sampling(self, policy: str | Strategy | None, seed: int = 0, **settings: Any) -> Supernet:
        """Draws a path by itself in every forward in train mode, so that an existing loop trains all choices.

        The path is a function of seed and step alone: all processes of a distributed run take the same one, and a
        run that is resumed from `state_dict` goes on where it was.

        Args:
            policy: `"uniform"`: every decision uniform over its values (single path one-shot; Guo et al. 2019, arXiv
                1904.00420); or another name of `mn.train` (`"fair"`, `"sandwich"`, ...), or a strategy of it: of a
                strategy that trains k paths a step, k successive forwards take them in turn; None: off, the active
                point is trained.
            seed: the seed of the paths.
            **settings: of the named strategy.

        Raises:
            SpaceError: for another name.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
            >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5)], example=torch.randn(1, 3, 8, 8))
            >>> _ = supernet.train().sampling("uniform", seed=0)
            >>> len({(supernet(torch.randn(1, 3, 8, 8)), supernet.active_point)[1] for _ in range(20)})
            2
        """
        self._policy = None if policy is None else named(policy, settings)
        if policy is not None:
            self._leave()
        self._seed = int(seed)
        self._step = 0
        self._paths = None
        return self

    @_disable_dynamo  # torch.compiler.disable imports the whole compiler at once, 3 s; this one when it is called
    def _draw(self) -> None:
        assert self._policy is not None
        step, turn = divmod(self._step, self._policy.n_paths(self.space))
        if self._paths is None or self._paths[0] != step:
            self._paths = (step, self._policy.paths(self.space, self._seed, step))
        self._switch(self._paths[1][turn].tolist())
        self._step += 1

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the given model's, with the active point's network, or everything weighed while it is relaxed."""
        if self.relaxed is not None:
            self.relaxed.draw()
        if not self.training:
            return self._run(*args, **kwargs)
        # What runs inside of a backward is computed again and keeps its path.
        if self._policy is not None and not _in_backward():
            self._draw()
        output = self._run(*args, **kwargs)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            output = every_gradient(self, output)
            self._keep_path(output)
        return output

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        size = self.resolution(self._codes)
        if size is not None and tuple(args[0].shape[2:]) != size:
            args = (nn.functional.interpolate(args[0], size, mode=self.RESIZING), *args[1:])
        if self.relaxed is None or self._shared is None or torch.compiler.is_compiling():
            return self.model(*args, **kwargs)
        with self._shared:
            return self.model(*args, **kwargs)

    def resolution(self, codes: Sequence[int]) -> tuple[int, int] | None:
        """The size (H, W) to which the network of a point's codes resizes its input; None: it takes it as it is."""
        if self._resolution is None:
            return None
        code, given = codes[self._resolution["decision"]], self._resolution["given"]
        size = self._resolution["sizes"][code]
        return None if code == given else (size, size) if isinstance(size, int) else tuple(size)

    def _keep_path(self, output: Any) -> None:
        """Makes the backward of an output run on the path of its forward."""
        codes = self._codes

        def begin(gradient: Tensor) -> None:
            if self._codes == codes:
                return
            if self._interrupted is None:  # the first of several forwards
                self._interrupted = self._codes
                Variable._execution_engine.queue_callback(end)
            self._switch(codes)

        def end() -> None:
            if self._interrupted is not None:
                self._switch(self._interrupted)
                self._interrupted = None

        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                leaf.register_hook(begin)

    def learn_kernels(self) -> Supernet:
        """Lets kernels shrink in a learned way: adds a matrix for each smaller kernel size of each layer.

        Cai et al. 2020, arXiv 1908.09791, section 3.3. The matrices start as the identity, so nothing changes until
        they are trained; call it before the optimizer is given the parameters. Derived networks have plain kernels.
        """
        codes = self._codes
        for part in self._parts.values():
            part.learn_kernels()
            part.activate(codes)
        return self

    def sort_channels(self) -> Supernet:
        """Puts the channels of every elastic width in the order of their importance; the whole network stays the same.

        As before the width stage of Once-for-All (Cai et al. 2020, arXiv 1908.09791, section 3.3): the first channels
        are kept, so they should be those that matter, by the L1 norm of the weights that read them. Momentum that an
        optimizer has for the weights does not follow.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
            >>> x = torch.randn(2, 3, 8, 8)
            >>> supernet = mn.rewrite(net, [mn.rules.width(0.5, 1.0)], example=x).sort_channels()
            >>> torch.allclose(supernet(x), net(x), atol=1e-6)
            True

        Raises:
            RuleError: if widths above the given ones, or other numbers of groups, are choices.
        """
        if self._plan.diagonals or any(map(_grows, self._plan.cuts)):
            raise RuleError("channels are sorted before they are wider or in other groups than given; leave that out")
        whole: dict[str, Tensor] = {}
        for cut in self._plan.cuts:
            path, name = cut["holders"][0]
            whole[f"{path}.{name}" if path else name] = self._parts[path].whole(name)
        with torch.no_grad():
            for path, tensor in self._plan.sort({path: tensor.detach() for path, tensor in whole.items()}).items():
                whole[path].copy_(tensor)
        return self

    def cost(self, points: Any) -> dict[str, Any]:
        """Exact costs for the shape of the example: `params`, `macs`, `activation_bytes`.

        Args:
            points: one point (the costs are ints), a list of points, or an int32 array of `space.indices` of shape
                (n, decisions) (the costs are int64 arrays of shape (n,)).

        `macs` is half of what `torch.utils.flop_counter` counts; `activation_bytes` are those of the outputs of all
        leaf modules but identities.
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

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._select()  # a row that was moved alone is no part of its table any more
        return self

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
        self._space = self._plan.with_costs()

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


def _grows(cut: dict[str, Any]) -> bool:
    """Whether the shared tensor has more channels than the given one."""
    longest = (max(length for _, length in [*run["ranges"], run["inactive"]]) for run in cut["runs"])
    given = sum(run["inactive"][1] for run in cut["runs"])
    return bool(cut["content"] != "window" and sum(longest) > given)


def _in_backward() -> bool:
    """Whether this runs inside of a backward."""
    return bool(torch._C._current_graph_task_id() != -1)
