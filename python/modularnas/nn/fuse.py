"""Fused forms: the weighted sum of a mixed op, computed in fewer calls and with fewer tensors, equal to rounding.

A candidate is read as a chain of stages. From its front, stages without parameters (ReLU, pools) are shared by all
candidates and all mixed ops of the same input. At its end, the candidate's weight w rides in what is there anyway:

- a convolution is linear in its kernel, so w op(x) is the convolution with w times the kernel, and convolutions of one
  input, stride and alignment with the identity are one convolution whose kernel is the sum of theirs, each in its place
  of the largest (`merge`), where that is no more work than apart; the backward pass makes the kernel again; large
  kernels on small pictures are a few matrix products (`rows`);
- a batch norm scales: w rides in its scale and shift (`folded`), so no product is made or kept for the backward pass;
- what is left is added up in one pass an operand (`summed`); a candidate that is zero is not computed at all.

On a CPU, candidates of depthwise convolutions, pools, 1 x 1 convolutions and norms are one native operator (`edge`), of
several paths or a single one.

The same rewriting for plain networks: Ding et al. 2021, RepVGG, arXiv 2101.03697, and Diverse Branch Block, arXiv
2103.13425 (transforms I to VI), where it is done once after training; here it is done in every forward with the weights
of the architecture, and gradients flow through it to everything. A candidate whose stages have hooks, or are no
plain modules of torch, runs as it is.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from modularnas.nn.edge import Chain, edge, takes
from modularnas.nn.merge import merge
from modularnas.nn.merge import takes as takes_kernels
from modularnas.nn.mixed import MixedOp, Paths
from modularnas.nn.rows import convolve_rows, reach

__all__ = ["Fused", "Shared", "fuse"]

#: Kernels are merged for at least so many positions a tap, by the native operator or by torch's; making them costs more
#: than it saves for fewer.
MERGED_FROM = {True: 1, False: 4}
#: Kernels of so many numbers are taken by rows, times the square of the part of their rows that reads pictures; with
#: fewer, torch's convolution was faster.
LARGE_KERNEL = 1 << 24
_CONVOLUTIONS = {
    nn.Conv1d: functional.conv1d,
    nn.Conv2d: functional.conv2d,
    nn.Conv3d: functional.conv3d,
}
#: Stages without parameters and randomness, which give the same for the same input.
_SHAREABLE = (
    nn.ReLU,
    nn.ReLU6,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Tanh,
    nn.Sigmoid,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
)


class Shared:
    """What stages without parameters gave in the present forward, by input; what is to be moved on in batch norms.

    Open during a forward of the supernet. Inputs are held weakly, so that nothing lives longer than without it.
    """

    def __init__(self) -> None:
        self._open = 0
        self._known: dict[int, tuple[Any, dict[Any, Tensor]]] = {}
        self._counters: list[Tensor] = []
        self._moves: dict[float, tuple[list[Tensor], list[Tensor]]] = {}

    def __enter__(self) -> None:
        self._open += 1

    def __exit__(self, *_: object) -> None:
        self._open -= 1
        if not self._open:
            self._known = {}
            counters, self._counters = self._counters, []
            moves, self._moves = self._moves, {}
            with torch.no_grad():
                if counters:
                    torch._foreach_add_(counters, 1)
                for momentum, (running, seen) in moves.items():
                    torch._foreach_lerp_(running, seen, momentum)

    def run(self, stage: nn.Module, x: Tensor) -> Tensor:
        """What a shareable stage gives, computed once for one input."""
        # A compiler finds common expressions by itself; of an inference tensor it is unknown whether it was changed.
        if not self._open or torch.compiler.is_compiling() or x.is_inference():
            return stage(x)  # type: ignore[no-any-return]
        known = self._known.get(id(x))
        if known is None or known[0]() is not x:
            known = self._known[id(x)] = (weakref.ref(x), {})
        # Values of another version of the input, or computed without a graph, or in another precision, are others.
        key = (_signature(stage), x._version, torch.is_grad_enabled(), torch.is_autocast_enabled(x.device.type))
        value = known[1].get(key)
        if value is None:
            value = known[1][key] = stage(x)
        return value

    def count(self, counter: Tensor) -> None:
        """Adds one to a counter, at the end of the forward together with all others."""
        if self._open and not torch.compiler.is_compiling():
            self._counters.append(counter)
        else:
            counter.add_(1)

    def move(self, running: Tensor, seen: Tensor, momentum: float) -> None:
        """Moves a running statistic towards what was seen, likewise."""
        if self._open and not torch.compiler.is_compiling():
            targets, values = self._moves.setdefault(momentum, ([], []))
            targets.append(running)
            values.append(seen)
        else:
            running.lerp_(seen, momentum)

    def __getstate__(self) -> dict[str, Any]:
        return {"_open": 0, "_known": {}, "_counters": [], "_moves": {}}


def _signature(stage: nn.Module) -> tuple[Any, ...]:
    constants = getattr(type(stage), "__constants__", ())
    return (type(stage), *(getattr(stage, name, None) for name in constants), stage.__dict__.get("approximate"))


class _WeightedSum(torch.autograd.Function):
    """sum_i w_i y_i in one pass an operand; only the operands are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *ys: Tensor) -> Tensor:
        ctx.save_for_backward(weights, *ys)
        dtype = functools.reduce(_wider, (y.dtype for y in ys))
        if weights.device.type == "cpu":
            factors: Sequence[Any] = weights.tolist()
            total: Tensor = (ys[0] * factors[0]).to(dtype)
            for factor, y in zip(factors[1:], ys[1:], strict=True):
                total.add_(y, alpha=factor)
            return total
        factors = weights.to(dtype).unbind()  # no waiting for the device
        total = (ys[0] * factors[0]).to(dtype)
        for factor, y in zip(factors[1:], ys[1:], strict=True):
            total.addcmul_(y.to(dtype), factor)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        weights, *ys = ctx.saved_tensors
        needed = ctx.needs_input_grad
        of_weights = None
        if needed[0]:
            of_weights = torch.stack([_inner(gradient, y) for y in ys]).to(weights.dtype)
        factors = weights.unbind()
        return (
            of_weights,
            *(
                (gradient * factor).to(y.dtype) if need else None
                for factor, y, need in zip(factors, ys, needed[1:], strict=True)
            ),
        )


def _wider(a: torch.dtype, b: torch.dtype) -> torch.dtype:
    return a if a == b else torch.promote_types(a, b)


def _weighted_sum(terms: Sequence[tuple[Tensor, Tensor]]) -> Any:
    if torch.compiler.is_compiling():  # a compiler fuses the plain sum
        total: Any = terms[0][0] * terms[0][1]
        for weight, y in terms[1:]:
            total = total + weight * y
        return total
    return _WeightedSum.apply(torch.stack([weight for weight, _ in terms]), *(y for _, y in terms))  # type: ignore[no-untyped-call]


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products, without a tensor of products where memory is laid out alike."""
    if a.dtype != b.dtype:
        b = b.to(a.dtype)
    if a.dim() == 4 and not b.is_contiguous():
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
    if a.is_contiguous() and b.is_contiguous():
        return torch.dot(a.reshape(-1), b.reshape(-1))
    return (a * b).sum()


def _chain(module: nn.Module) -> list[nn.Module]:
    """The stages of a candidate, one after the other."""
    if type(module) is nn.Sequential:
        return [stage for child in module for stage in _chain(child)]
    return [] if type(module) is nn.Identity else [module]


def _is_zero(stages: Sequence[nn.Module]) -> bool:
    return any(getattr(type(stage), "is_zero", False) for stage in stages)


def _is_convolution(stage: nn.Module) -> bool:
    """Whether it is a plain convolution with zeros around, whatever makes its weight."""
    return (
        isinstance(stage, tuple(_CONVOLUTIONS))
        and any(type(stage).forward is cls.forward for cls in _CONVOLUTIONS)
        and stage.padding_mode == "zeros"
        and not isinstance(stage.padding, str)
    )


def _is_norm(stage: nn.Module) -> bool:
    return isinstance(stage, _BatchNorm) and type(stage).forward is _BatchNorm.forward


def _is_shareable(stage: nn.Module) -> bool:
    return (
        type(stage) in _SHAREABLE
        and not getattr(stage, "inplace", False)
        and not getattr(stage, "return_indices", False)
    )


def _has_hooks(modules: Sequence[nn.Module]) -> bool:
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in modules
    )


class _Candidate:
    """A candidate as a chain: what is shared, what runs as it is, and what carries the weight."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        stages = _chain(module)
        self.zero = _is_zero(stages)
        n_shared = next((i for i, stage in enumerate(stages) if not _is_shareable(stage)), len(stages))
        self.shared, rest = stages[:n_shared], stages[n_shared:]
        self.tail: Any = rest.pop() if rest and (_is_convolution(rest[-1]) or _is_norm(rest[-1])) else None
        self.body = rest
        #: For how many positions its weight rides in the kernel, which is then no larger than its output.
        self.folded_from = 0
        tail: Any = self.tail
        if tail is not None and _is_convolution(tail):
            self.folded_from = math.prod(tail.kernel_size) * tail.in_channels // tail.groups
        #: How the native operator computes it; None: it cannot.
        self.chain = None if self.zero else Chain.read(stages)
        #: Every module that a hook may be on.
        self.parts = list(module.modules())
        #: Convolutions of the same key are of the same input and aligned.
        self.key: tuple[Any, ...] | None = None
        if self.tail is not None and not self.body and _is_convolution(self.tail):
            self.key = (tuple(map(_signature, self.shared)), *_alignment(self.tail))
        elif not stages:
            self.key = ()  # the identity joins any that keeps the size


def _alignment(conv: Any) -> tuple[Any, ...]:
    """Convolutions of one alignment give the same positions: kernels are added where their taps read the same."""
    reach = tuple(
        2 * p - d * (k - 1) - 1 for k, d, p in zip(conv.kernel_size, conv.dilation, conv.padding, strict=True)
    )
    return conv.stride, conv.groups, reach


class Fused:
    """The fused form of one mixed op.

    Args:
        mixed: the mixed op.
        shared: what is shared by all mixed ops of the supernet.

    Attributes:
        note: in words, what is done with which candidates.
    """

    def __init__(self, mixed: MixedOp, shared: Shared) -> None:
        self.shared = shared
        self.candidates = [_Candidate(module) for module in mixed.candidates]
        self.groups = self._groups()
        self.note = self._note(mixed.names)

    def _groups(self) -> list[list[int]]:
        """Candidates that are merged into one kernel, by code, two or more."""
        aligned: dict[tuple[Any, ...], list[int]] = {}
        for code, candidate in enumerate(self.candidates):
            if candidate.key:
                aligned.setdefault(candidate.key, []).append(code)
        identity = next((code for code, candidate in enumerate(self.candidates) if candidate.key == ()), None)
        groups = []
        for codes in aligned.values():
            convs: list[Any] = [self.candidates[code].tail for code in codes]
            if self._taps(codes) > sum(math.prod(conv.kernel_size) for conv in convs):
                continue  # one kernel would be more work than several
            if identity is not None and self._keeps_size(codes[0]):
                codes, identity = [*codes, identity], None
            if len(codes) > 1:
                groups.append(codes)
        return groups

    def _taps(self, codes: Sequence[int]) -> int:
        """Of the kernel of several."""
        tails: list[Any] = [self.candidates[code].tail for code in codes]
        return math.prod(map(max, zip(*(_extent(conv) for conv in tails if conv is not None), strict=True)))

    def _keeps_size(self, code: int) -> bool:
        candidate = self.candidates[code]
        conv: Any = candidate.tail
        stride, _, reach = _alignment(conv)
        return (
            not candidate.shared and set(stride) == {1} and set(reach) == {-1} and conv.in_channels == conv.out_channels
        )

    def _note(self, names: Sequence[str]) -> str:
        parts = [f"merged into one kernel: {', '.join(names[code] for code in codes)}" for codes in self.groups]
        if parts:
            parts[-1] += " (apart on tiny pictures)"
        merged = {code for codes in self.groups for code in codes}
        native = [code for code, candidate in enumerate(self.candidates) if candidate.chain and code not in merged]
        if self._worthwhile(native):
            parts.append(
                f"one native operator on a CPU: {', '.join(names[code] for code in native)} (elsewhere as follows)"
            )
        kinds: dict[str, list[str]] = {}
        for code, (name, candidate) in enumerate(zip(names, self.candidates, strict=True)):
            if code in merged:
                continue
            if candidate.zero:
                kind = "not computed"
            elif candidate.tail is not None:
                kind = "weight folded into the last layer"
            elif candidate.body:
                kind = "summed as it is"
            else:
                kind = "summed, computed once an input"
            kinds.setdefault(kind, []).append(name)
        parts += [f"{kind}: {', '.join(of_kind)}" for kind, of_kind in kinds.items()]
        first = [name for name, candidate in zip(names, self.candidates, strict=True) if candidate.shared]
        if first:
            parts.append(f"first stages once an input: {', '.join(first)}")
        return "; ".join(parts)

    def _worthwhile(self, codes: Sequence[int]) -> bool:
        """Whether the native operator wins something."""
        return any(chain is not None and chain.worthwhile for chain in (self.candidates[code].chain for code in codes))

    def __call__(self, mixed: MixedOp, paths: Paths | None, x: Tensor) -> Tensor | None:
        """The weighted sum, or what the active candidate gives; None if the plain form has to give it."""
        if paths is None:
            return self._alone(mixed.active, x)
        if mixed.training and any(mixed.drop.values()):
            return None
        if paths.weights is None:
            return self._alone(paths.codes[0], x)
        total = self._weighted(mixed, paths, x)
        if total is not None and torch.is_grad_enabled():
            for code in paths.watched:  # as in `mixture`
                with torch.no_grad():
                    y = self._alone(code, x)
                    y = mixed.candidates[code](x) if y is None else y
                total = total + y * paths.scalars[code]
        return total

    def _weighted(self, mixed: MixedOp, paths: Paths, x: Tensor) -> Tensor | None:
        """The weighted sum of the paths that run with gradients."""
        weights = paths.scalars
        left = dict.fromkeys(code for code in paths.codes if not self.candidates[code].zero)
        plain = [code for code in left if _has_hooks(self.candidates[code].parts)]
        folded: list[Tensor] = []
        terms: list[tuple[Tensor, Tensor]] = []
        for code in plain:
            del left[code]
            terms.append((weights[code], mixed.candidates[code](x)))
        for group in self.groups:
            codes = [code for code in group if code in left]
            merged = self._merged(codes, weights, x) if len(codes) > 1 else None
            if merged is not None:
                for code in codes:
                    del left[code]
                folded.append(merged)
        native = self._native(list(left), x)
        if native:
            for code in native:
                del left[code]
            chains = [self.candidates[code].chain if code in native else None for code in paths.kept]
            folded.insert(0, self._run(chains, paths.weights, x))
        for code in left:
            candidate = self.candidates[code]
            y = x
            for stage in candidate.shared:
                y = self.shared.run(stage, y)
            for stage in candidate.body:
                y = stage(y)
            tail = candidate.tail
            if tail is None:
                terms.append((weights[code], y))
            elif _is_norm(tail):
                folded.append(self._normed(tail, y, weights[code]))
            elif _is_convolution(tail) and _positions(tail, x) >= candidate.folded_from:
                folded.append(tail._conv_forward(y, tail.weight * weights[code], _times(tail.bias, weights[code])))
            else:
                terms.append((weights[code], tail(y)))
        if terms:
            total = _weighted_sum(terms)
        elif folded:
            total = folded.pop(0)
            if folded:
                total = total + folded.pop(0)
        else:
            return None
        for term in folded:
            total = total.add_(term) if total.dtype == term.dtype else total + term
        return total  # type: ignore[no-any-return]

    def _alone(self, code: int, x: Tensor) -> Tensor | None:
        """What one candidate gives."""
        chain = self.candidates[code].chain
        if chain is None or _has_hooks(self.candidates[code].parts) or not self._native([code], x):
            return None
        return self._run([chain], x.new_ones(1), x)

    def _native(self, codes: Sequence[int], x: Tensor) -> list[int]:
        """Those that go to the native operator."""
        found = [code for code in codes if (chain := self.candidates[code].chain) is not None and takes(chain, x)]
        return found if self._worthwhile(found) else []

    def _run(self, chains: Sequence[Chain | None], weights: Any, x: Tensor) -> Tensor:
        """The native operator, and what moves in the norms of its chains."""
        out, statistics = edge(chains, weights, x)
        norms: list[Any] = [segment.norm for chain in chains if chain is not None for segment in chain.norms()]
        if not any(norm.training for norm in norms):
            return out
        if out.numel() == out.shape[1]:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {out.shape}")
        seen = statistics.split([norm.num_features for norm in norms for _ in range(3)])
        for i, norm in enumerate(norms):
            if norm.training and norm.track_running_stats and norm.running_mean is not None:
                momentum = self._count(norm)
                self.shared.move(norm.running_mean, seen[3 * i], momentum)
                self.shared.move(norm.running_var, seen[3 * i + 2], momentum)
        return out

    def _count(self, norm: Any) -> float:
        """One more batch for the norm's counter; how much it counts in the running statistics."""
        momentum: float | None = norm.momentum
        if norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
            if momentum is None:  # a cumulative average needs the counter now
                norm.num_batches_tracked.add_(1)
                return 1.0 / float(norm.num_batches_tracked)
            self.shared.count(norm.num_batches_tracked)
        return 0.0 if momentum is None else momentum

    def _merged(self, codes: Sequence[int], weights: dict[int, Tensor], x: Tensor) -> Tensor | None:
        """One convolution for several, and perhaps the identity; None for too few positions."""
        chosen = [self.candidates[code] for code in codes]
        convs: list[Any] = [candidate.tail for candidate in chosen if candidate.tail is not None]
        if not convs:
            return None
        extent = tuple(map(max, zip(*map(_extent, convs), strict=True)))
        first = convs[0]
        factors = [weights[code] for code in codes]
        parts = [_dirac(first) if c.tail is None else c.tail.weight for c in chosen]
        native = takes_kernels(factors, parts)
        if _positions(first, x) < MERGED_FROM[native] * math.prod(extent):
            return None
        for stage in next(candidate.shared for candidate in chosen if candidate.tail is not None):
            x = self.shared.run(stage, x)
        steps = [(1,) * len(extent) if c.tail is None else c.tail.dilation for c in chosen]
        shifts = [(weights[c], self.candidates[c].tail) for c in codes]
        biases = [w * conv.bias for w, conv in shifts if conv is not None and conv.bias is not None]
        bias: Any = sum(biases) if biases else None
        padding = tuple(p + (e - own) // 2 for p, e, own in zip(first.padding, extent, _extent(first), strict=True))
        if native and _is_small(x, parts[0], extent, first, padding):
            out = convolve_rows(x, factors, parts, steps, extent, first.stride, padding)
            return out if bias is None else out + bias.view(-1, 1, 1)

        def summed() -> Tensor:
            return merge(factors, parts, steps, extent)

        convolution = next(f for cls, f in _CONVOLUTIONS.items() if isinstance(first, cls))
        kernel = summed()
        with _made_again(kernel, summed, [*parts, *factors]):
            return convolution(x, kernel, bias, first.stride, padding, 1, first.groups)

    def _normed(self, norm: Any, x: Tensor, weight: Tensor) -> Tensor:
        """The batch norm times a weight, which rides in its scale and shift."""
        momentum = self._count(norm)
        of_batch = norm.training or (norm.running_mean is None and norm.running_var is None)
        tracked = not norm.training or norm.track_running_stats
        scale = weight.expand(norm.num_features) if norm.weight is None else norm.weight * weight
        norm._check_input_dim(x)
        return functional.batch_norm(
            x,
            norm.running_mean if tracked else None,
            norm.running_var if tracked else None,
            scale,
            _times(norm.bias, weight),
            of_batch,
            momentum,
            norm.eps,
        )


def _is_small(x: Tensor, part: Tensor, extent: Sequence[int], conv: Any, padding: Sequence[int]) -> bool:
    """Whether rows of taps of a kernel as large as its picture are better taken one by one (`convolve_rows`)."""
    return (
        conv.groups == 1
        and x.dim() == len(extent) + 2 == 4
        and x.shape[1] == part.shape[1]  # torch says what is wrong
        and all(size + 2 * p >= e for size, p, e in zip(x.shape[2:], padding, extent, strict=True))
        and part.shape[0] * part.shape[1] * math.prod(extent)
        >= LARGE_KERNEL * reach(x.shape[2], extent[0], conv.stride[0], padding[0]) ** 2
        and type(x) in (Tensor, nn.Parameter)
        and x.dtype == part.dtype
        and not torch.is_autocast_enabled("cpu")
    )


def _times(tensor: Tensor | None, weight: Tensor) -> Tensor | None:
    return None if tensor is None else tensor * weight


def _positions(conv: Any, x: Tensor) -> float:
    """At how many places of a batch a convolution is computed."""
    if torch.compiler.is_compiling():
        return math.inf  # the size of a batch may be open
    if x.dim() != 2 + len(conv.stride):
        return 1  # no batch; torch says if it is wrong
    return float(x.numel() // (x.shape[1] * math.prod(conv.stride)))


def _extent(conv: Any) -> tuple[int, ...]:
    """The size of the kernel with its dilation."""
    return tuple(d * (k - 1) + 1 for k, d in zip(conv.kernel_size, conv.dilation, strict=True))


@contextmanager
def _made_again(tensor: Tensor, make: Callable[[], Tensor], of: Sequence[Tensor]) -> Iterator[None]:
    """Within it, graphs do not keep the tensor for their backward passes, but how it is made of others."""
    # Transforms of functions know no hooks. Those of others, such as of checkpoints, go on with the rest.
    if (
        torch.compiler.is_compiling()
        or not torch.is_grad_enabled()
        or torch._C._are_functorch_transforms_active()
        or type(tensor) is not Tensor
    ):
        yield
        return
    active: Any = torch._C._autograd._top_saved_tensors_default_hooks(False)
    outer = active or (_as_it_is, _as_it_is)
    address, shape, versions = tensor.data_ptr(), tensor.shape, [part._version for part in of]

    def pack(kept: Tensor) -> Any:
        return _GONE if kept.data_ptr() == address and kept.shape == shape else outer[0](kept)

    def unpack(kept: Any) -> Any:
        if kept is not _GONE:
            return outer[1](kept)
        if [part._version for part in of] != versions:
            raise RuntimeError(
                "a kernel of a mixed op was changed in place between forward and backward; step the optimizer after "
                "the backward pass"
            )
        with torch.no_grad():
            return make()

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


_GONE = object()


def _as_it_is(kept: Any) -> Any:
    return kept


def _dirac(conv: Any) -> Tensor:
    """The kernel of the identity."""
    kernel = torch.zeros(*conv.weight.shape[:2], *(1 for _ in conv.kernel_size)).to(conv.weight)
    return nn.init.dirac_(kernel, conv.groups)


def fuse(mixed_ops: Sequence[MixedOp]) -> Shared:
    """Gives mixed ops their fused forms; returns what they share, to be open during a forward."""
    shared = Shared()
    for mixed in mixed_ops:
        mixed.form = Fused(mixed, shared)
    return shared
