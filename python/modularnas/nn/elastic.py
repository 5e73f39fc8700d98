"""Elastic modules: layers whose size is a choice, all sizes being slices of one weight.

A given layer becomes elastic by changing its class in place, so its parameters, their names in `state_dict` and
references to it stay. Activating a size sets the layer's ordinary attributes (`kernel_size`, `padding`); the forward
is torch's own with a view of the weight. The same slice exists as a Rust weight map; the law of weight sharing holds
them together.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["ElasticConv1d", "ElasticConv2d", "ElasticConv3d", "elastic_conv"]

Sizes = Sequence[tuple[int, tuple[int, ...] | None]]


class _ElasticConv(nn.modules.conv._ConvNd):
    """A convolution whose kernel is the centre of a larger one (Cai et al. 2020, arXiv 1908.09791, section 3.3)."""

    given_class: type[nn.Module]
    sizes: tuple[tuple[int, tuple[int, ...] | None], ...]

    def activate(self, code: int) -> None:
        """Sets kernel size and padding to those of a code."""
        size, padding = self.sizes[code]
        self.kernel_size = (size,) * len(self.stride)
        if padding is not None:
            self.padding = padding
            self._reversed_padding_repeated_twice = [n for n in reversed(padding) for _ in range(2)]
        elif self.dilation:
            total = [d * (size - 1) for d in reversed(self.dilation)]
            self._reversed_padding_repeated_twice = [part for n in total for part in (n // 2, n - n // 2)]

    def active_weight(self) -> Tensor:
        """The centre of the weight, `(out, in / groups, k, …)`; a view."""
        weight = self.weight
        size = self.kernel_size[0]
        margin = (weight.shape[-1] - size) // 2
        if margin:
            for dim in range(2, weight.dim()):
                weight = weight.narrow(dim, margin, size)
        return weight

    def forward(self, input: Tensor) -> Tensor:
        """As torch's convolution of the active size."""
        return self._conv_forward(input, self.active_weight(), self.bias)


class ElasticConv1d(_ElasticConv, nn.Conv1d):
    """A `Conv1d` of elastic kernel size."""


class ElasticConv2d(_ElasticConv, nn.Conv2d):
    """A `Conv2d` of elastic kernel size."""


class ElasticConv3d(_ElasticConv, nn.Conv3d):
    """A `Conv3d` of elastic kernel size."""


def elastic_conv(conv: nn.Module, sizes: Sizes) -> _ElasticConv:
    """Makes a convolution elastic in place and returns it.

    Args:
        conv: a `Conv1d`, `Conv2d` or `Conv3d` (or a subclass that keeps its forward), its weight already as large as
            the largest size.
        sizes: kernel size and padding of each code; None as padding for `padding="same"`.
    """
    classes = {nn.Conv1d: ElasticConv1d, nn.Conv2d: ElasticConv2d, nn.Conv3d: ElasticConv3d}
    given_class = type(conv)
    conv.__class__ = next(elastic for plain, elastic in classes.items() if isinstance(conv, plain))
    assert isinstance(conv, _ElasticConv)
    conv.given_class = given_class
    conv.sizes = tuple((size, padding) for size, padding in sizes)
    return conv
