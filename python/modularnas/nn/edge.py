"""The native form of a mixed op: all of its small candidates in one operator, forward and backward.

A DARTS edge (Liu, Simonyan and Yang 2018, arXiv 1806.09055) is some hundred calls of torch on small tensors, most of
them kernels that torch has not made fast on a processor: depthwise convolutions backward, pools. Here the chains of
ReLU, depthwise and 1 x 1 convolution, pool and batch norm of a mixed op are one program, and `modularnas::edge` runs it
in Rust (`src/kernel`): shared passes, one tensor kept a norm, nothing computed for what is not active. A norm's running
statistics are moved by the caller, so the operator changes nothing that it is given.

The operator is one of `torch.library`: autograd and autocast know it, tracers its shapes. It exists on CPU
tensors of 32 and 64 bits; everything else keeps torch's own operators. A derivative of its derivative is taken of
`plain`, the same program in torch's operators.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from modularnas import _core

__all__ = ["Chain", "edge", "plain", "takes"]

torch.library.define(
    "modularnas::edge",
    "(Tensor x, Tensor weights, Tensor[] parameters, Tensor[] running, str program, bool keep)"
    " -> (Tensor, Tensor, Tensor)",
)
torch.library.define(
    "modularnas::edge_backward",
    "(Tensor gradient, Tensor x, Tensor weights, Tensor[] parameters, Tensor saved, Tensor statistics, str program,"
    " bool[] needed) -> Tensor[]",
)


class _Segment:
    """An optional ReLU, stages, and an optional batch norm, with the modules that hold their tensors."""

    def __init__(self, relu: bool) -> None:
        self.relu = relu
        self.stages: list[dict[str, Any]] = []
        self.convs: list[nn.Conv2d] = []
        self.norm: nn.BatchNorm2d | None = None
        self._texts: tuple[str, str] = ("", "")

    def close(self, norm: nn.BatchNorm2d | None) -> None:
        """The segment is complete; its text with statistics given and with those of the batch."""
        self.norm = norm
        start = {"relu": self.relu, "stages": self.stages}
        norms: list[Any] = [None, None]
        if norm is not None:
            affine = norm.weight is not None
            norms = [{"eps": norm.eps, "of_batch": of_batch, "affine": affine} for of_batch in (False, True)]
        given, of_batch = (json.dumps({**start, "norm": norm}, separators=(",", ":")) for norm in norms)
        self._texts = given, of_batch

    @property
    def of_batch(self) -> bool:
        """Whether the norm takes the statistics of the batch."""
        norm = self.norm
        return norm is not None and (norm.training or norm.running_mean is None)

    def text(self) -> str:
        return self._texts[self.of_batch]

    def parameters(self) -> Iterator[Tensor]:
        for conv in self.convs:
            yield conv.weight
        if self.norm is not None and self.norm.weight is not None:
            yield self.norm.weight
            yield self.norm.bias


class Chain:
    """A candidate as the kernels know it.

    Args:
        segments: its parts; none are the identity.

    Attributes:
        modules: every module that holds something of it, with its type when it was read.
        worthwhile: whether the kernels are faster than torch's at any of its stages.
    """

    def __init__(self, segments: Sequence[_Segment], modules: Sequence[nn.Module]) -> None:
        self.segments = tuple(segments)
        self.modules = [(module, type(module)) for module in modules]
        kinds = {stage["kind"] for segment in segments for stage in segment.stages}
        self.worthwhile = bool(kinds - {"pointwise"})

    @classmethod
    def read(cls, stages: Sequence[nn.Module]) -> Chain | None:
        """The chain of a candidate's stages; None if a kernel is missing."""
        segments: list[_Segment] = []
        open_: _Segment | None = None
        for stage in (part for whole in stages for part in _parts(whole)):
            if type(stage) is nn.ReLU and not stage.inplace:
                if open_ is not None:
                    open_.close(None)
                    segments.append(open_)
                open_ = _Segment(relu=True)
                continue
            open_ = open_ or _Segment(relu=False)
            if type(stage) is nn.BatchNorm2d:
                if (stage.weight is None) is not (stage.bias is None):
                    return None
                open_.close(stage)
                segments.append(open_)
                open_ = None
                continue
            convs, record = _stage(stage)
            if record is None:
                return None
            open_.stages.append(record)
            open_.convs += convs
        if open_ is not None:
            open_.close(None)
            segments.append(open_)
        return cls(segments, [module for stage in stages for module in stage.modules()])

    def text(self) -> str:
        """Its part of a program."""
        return "[" + ",".join([segment.text() for segment in self.segments]) + "]"

    def parameters(self) -> list[Tensor]:
        """What it reads and may have gradients, in the program's order."""
        return [tensor for segment in self.segments for tensor in segment.parameters()]

    def norms(self) -> list[_Segment]:
        """The segments that have a norm."""
        return [segment for segment in self.segments if segment.norm is not None]


class _Shifted(nn.Module):
    """1 x 1 convolutions of a picture shifted by one pixel each, concatenated."""

    def __init__(self, convs: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.convs = list(convs)


def _parts(stage: nn.Module) -> list[nn.Module]:
    """The stage, or the stages of a factorized reduction (`modularnas.ops.identity`)."""
    shifted = getattr(type(stage), "shifted", None)
    if shifted is None:
        return [stage]
    convs = [stage.get_submodule(name) for name in shifted]
    return [nn.ReLU(), _Shifted(convs), stage.get_submodule("norm")]  # type: ignore[arg-type]


def _pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, tuple) else [value, value]


def _stage(stage: nn.Module) -> tuple[list[nn.Conv2d], dict[str, Any] | None]:
    """The convolutions of a stage and its record in a program; None if no kernel is for it."""
    if isinstance(stage, _Shifted):
        if not all(map(_is_pointwise, stage.convs)) or len({conv.stride for conv in stage.convs}) > 1:
            return [], None
        offsets = [[i, i] for i in range(len(stage.convs))]
        return stage.convs, {"kind": "pointwise", "stride": _pair(stage.convs[0].stride), "offsets": offsets}
    if type(stage) is nn.Conv2d and _is_pointwise(stage):
        return [stage], {"kind": "pointwise", "stride": _pair(stage.stride), "offsets": [[0, 0]]}
    kind, more = "depthwise", {}
    if type(stage) is nn.Conv2d:
        if stage.bias is not None or stage.padding_mode != "zeros" or isinstance(stage.padding, str):
            return [], None
        if not stage.groups == stage.in_channels == stage.out_channels:
            return [], None
    elif type(stage) is nn.MaxPool2d and not stage.ceil_mode and not stage.return_indices:
        kind = "max_pool"
    elif type(stage) is nn.AvgPool2d and not stage.ceil_mode and stage.divisor_override is None:
        kind, more = "avg_pool", {"count_padding": stage.count_include_pad}
    else:
        return [], None
    window = {
        "kernel": _pair(stage.kernel_size),
        "stride": _pair(stage.stride),
        "padding": _pair(stage.padding),
        "dilation": _pair(getattr(stage, "dilation", 1)),
    }
    seen = zip(window["kernel"], window["dilation"], window["padding"], strict=True)
    if any(padding > d * (k - 1) for k, d, padding in seen):
        return [], None  # some positions would see the padding alone
    return [stage] if type(stage) is nn.Conv2d else [], {"kind": kind, "window": window, **more}


def _is_pointwise(conv: nn.Module) -> bool:
    return (
        type(conv) is nn.Conv2d
        and conv.kernel_size == (1, 1)
        and conv.padding == (0, 0)
        and conv.groups == 1
        and conv.bias is None
    )


def takes(chain: Chain, x: Tensor) -> bool:
    """Whether the operator is for this input, and the chain's modules still are what was read."""
    if x.device.type != "cpu" or x.dim() != 4 or type(x) not in (Tensor, nn.Parameter) or not x.numel():
        return False
    # A compiler fuses torch's own operators, and an exported program holds them alone.
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    if any(type(module) is not kind for module, kind in chain.modules):
        return False
    if torch.is_autocast_enabled("cpu"):
        return True
    return x.dtype in (torch.float32, torch.float64) and all(p.dtype == x.dtype for p in chain.parameters())


def edge(chains: Sequence[Chain | None], weights: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted sum of chains.

    Args:
        chains: one a weight; None: not computed.
        weights: shape `(len(chains),)`.
        x: `(N, C, H, W)`.

    Returns:
        The sum, and of every norm, in the order of the chains, means, biased variances and unbiased variances.
    """
    present = [chain for chain in chains if chain is not None]
    parameters = [tensor.contiguous() for chain in present for tensor in chain.parameters()]
    running: list[Any] = []
    for chain in present:
        for segment in chain.norms():
            if not segment.of_batch:
                norm: Any = segment.norm
                running += [norm.running_mean, norm.running_var]
    program = "[" + ",".join(["null" if chain is None else chain.text() for chain in chains]) + "]"
    keep = torch.is_grad_enabled()
    out, _, statistics = torch.ops.modularnas.edge(
        x.contiguous(), weights.to(x.dtype).contiguous(), parameters, running, program, keep
    )
    return out, statistics


#: They take what the operators take, and the number of threads.
_edge: Callable[..., tuple[Tensor, Tensor, Tensor]] = _core.edge_forward
_edge_backward: Callable[..., list[Tensor]] = _core.edge_backward


@torch.library.impl("modularnas::edge", "CPU")
def _forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _edge(*arguments, threads=torch.get_num_threads())


@torch.library.impl("modularnas::edge_backward", "CPU")
def _gradients(*arguments: Any) -> list[Tensor]:
    return _edge_backward(*arguments, threads=torch.get_num_threads())


def _over(window: dict[str, Any], size: Sequence[Any]) -> list[Any]:
    keys = ("kernel", "stride", "padding", "dilation")
    along = zip(size, *(window[key] for key in keys), strict=True)
    return [
        (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for n, kernel, stride, padding, dilation in along
    ]


@torch.library.register_fake("modularnas::edge")  # type: ignore[untyped-decorator]
def _shapes(
    x: Tensor, weights: Tensor, parameters: list[Tensor], running: list[Tensor], program: str, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    rest = iter(parameters)
    out: list[Any] = list(x.shape)
    n_saved: Any = 0
    n_statistics: Any = 0
    for chain in json.loads(program):
        shape: list[Any] = list(x.shape)
        for i, segment in enumerate(chain or ()):
            n_weights = 0
            for stage in segment["stages"]:
                if stage["kind"] == "pointwise":
                    made = [next(rest).shape[0] for _ in stage["offsets"]]
                    n_weights += len(made)
                    size = [(n - 1) // stride + 1 for n, stride in zip(shape[2:], stage["stride"], strict=True)]
                    shape = [shape[0], sum(made), *size]
                else:
                    if stage["kind"] == "depthwise":
                        next(rest)
                        n_weights += 1
                    shape = [*shape[:2], *_over(stage["window"], shape[2:])]
            norm = segment["norm"]
            if n_weights and (norm is not None or i + 1 < len(chain)):
                n_saved += shape[0] * shape[1] * shape[2] * shape[3]
            if norm is not None:
                n_statistics += 3 * shape[1]
                for _ in range(2 * norm["affine"]):
                    next(rest)
        if chain is not None:
            out = shape
    return x.new_empty(out), x.new_empty([n_saved if keep else 0]), x.new_empty([n_statistics])


@torch.library.register_fake("modularnas::edge_backward")  # type: ignore[untyped-decorator]
def _gradient_shapes(_: Tensor, x: Tensor, weights: Tensor, parameters: list[Tensor], *rest: Any) -> list[Tensor]:
    needed: list[bool] = rest[-1]
    tensors = zip([x, weights, *parameters], needed, strict=True)
    return [torch.empty_like(tensor) if need else tensor.new_empty([0]) for tensor, need in tensors]


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    x, weights, parameters, running, program, _ = inputs
    _, saved, statistics = output
    ctx.mark_non_differentiable(saved, statistics)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, weights, saved, statistics, *parameters, *running)
    ctx.n_parameters, ctx.program = len(parameters), program


def _backward(ctx: Any, gradient: Any, *_: Any) -> Any:
    x, weights, saved, statistics, *rest = ctx.saved_tensors
    parameters, running = rest[: ctx.n_parameters], rest[ctx.n_parameters :]
    nothing = (None, None, [None] * len(parameters), [None] * len(running), None, None)
    if gradient is None:
        return nothing
    of_x, of_weights, of_parameters, *_ = ctx.needs_input_grad
    needed = [of_x, of_weights, *of_parameters]
    if torch.is_grad_enabled():  # a gradient of the gradients may be wanted
        out = plain(x, weights, parameters, running, ctx.program)
        tensors = [x, weights, *parameters]
        wanted = [tensor for tensor, need in zip(tensors, needed, strict=True) if need]
        found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True, allow_unused=True))
        gradients = [next(found) if need else None for need in needed]
    else:
        made = torch.ops.modularnas.edge_backward(
            gradient.contiguous(), x, weights, parameters, saved, statistics, ctx.program, needed
        )
        gradients = [tensor if need else None for tensor, need in zip(made, needed, strict=True)]
    return gradients[0], gradients[1], gradients[2:], *nothing[3:]


torch.library.register_autograd("modularnas::edge", _backward, setup_context=_keep)
torch.library.register_autocast("modularnas::edge", "cpu", torch.float32)


def plain(x: Tensor, weights: Tensor, parameters: Sequence[Tensor], running: Sequence[Tensor], program: str) -> Tensor:
    """What the operator computes, in torch's operators."""
    rest, statistics = iter(parameters), iter(running)
    total: Any = None
    for weight, chain in zip(weights.unbind(), json.loads(program), strict=True):
        if chain is None:
            continue
        y = x
        for segment in chain:
            y = _segment(y, segment, rest, statistics)
        total = weight * y if total is None else total + weight * y
    return total  # type: ignore[no-any-return]


def _segment(x: Tensor, segment: dict[str, Any], parameters: Iterator[Tensor], running: Iterator[Tensor]) -> Tensor:
    if segment["relu"]:
        x = torch.relu(x)
    for stage in segment["stages"]:
        if stage["kind"] == "pointwise":
            stride = stage["stride"]
            reads = [x[:, :, down:, right:] for down, right in stage["offsets"]]
            parts = [functional.conv2d(read, next(parameters), stride=stride) for read in reads]
            x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            continue
        window = stage["window"]
        kernel, stride, padding, dilation = (window[key] for key in ("kernel", "stride", "padding", "dilation"))
        if stage["kind"] == "depthwise":
            x = functional.conv2d(x, next(parameters), None, stride, padding, dilation, x.shape[1])
        elif stage["kind"] == "max_pool":
            x = functional.max_pool2d(x, kernel, stride, padding, dilation)
        else:
            x = functional.avg_pool2d(x, kernel, stride, padding, count_include_pad=stage["count_padding"])
    norm = segment["norm"]
    if norm is None:
        return x
    weight, bias = (next(parameters), next(parameters)) if norm["affine"] else (None, None)
    mean, variance = (None, None) if norm["of_batch"] else (next(running), next(running))
    return functional.batch_norm(x, mean, variance, weight, bias, norm["of_batch"], 0.0, norm["eps"])
