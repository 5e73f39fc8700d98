"""Normalisations: `batch_norm`, `layer_norm`, `rms_norm`, `group_norm_g8`, `instance_norm`; with scale and shift.

Ioffe and Szegedy 2015 (arXiv 1502.03167), Ba, Kiros and Hinton 2016 (arXiv 1607.06450), Zhang and Sennrich 2019 (arXiv
1910.07467), Wu and He 2018 (arXiv 1803.08494), Ulyanov, Vedaldi and Lempitsky 2016 (arXiv 1607.08022); all torch's own
classes with its defaults. On `(N, C, …)` the layer norm is over channels and positions of an example, which is the
group norm of one group (Wu and He, section 3.1); on `(N, …, D)` it is over the features. Where the size or the number
of channels changes, the identity's projection comes first.
"""

from __future__ import annotations

from torch import nn

from modularnas.errors import RuleError
from modularnas.ops import dims
from modularnas.ops.identity import fit
from modularnas.ops.registry import FEATURES, SPATIAL, register
from modularnas.ops.slot import Slot

__all__: list[str] = []


@register("batch_norm", inputs=(*SPATIAL, "features"))
def batch_norm(slot: Slot) -> nn.Module:
    """Batch norm."""
    if slot.dims == 0:
        return fit(slot, nn.BatchNorm1d(slot.out_channels))
    return fit(slot, dims.batch_norm(slot, slot.out_channels))


@register("layer_norm", inputs=(*SPATIAL, *FEATURES))
def layer_norm(slot: Slot) -> nn.Module:
    """Layer norm: over the features, or over channels and positions."""
    if slot.dims == 0:
        return fit(slot, nn.LayerNorm(slot.out_channels))
    return fit(slot, nn.GroupNorm(1, slot.out_channels))


@register("rms_norm", inputs=FEATURES)
def rms_norm(slot: Slot) -> nn.Module:
    """Root mean square norm over the features."""
    _, outside = dims.features(slot)
    return fit(slot, nn.RMSNorm(outside))


@register("group_norm_g{groups}", names=["group_norm_g2"], inputs=SPATIAL)
def group_norm(slot: Slot, groups: int) -> nn.Module:
    """Group norm with {groups} groups."""
    if slot.out_channels % groups:
        raise RuleError(f"{slot.out_channels} channels cannot be split into {groups} groups")
    return fit(slot, nn.GroupNorm(groups, slot.out_channels))


@register("instance_norm", inputs=SPATIAL)
def instance_norm(slot: Slot) -> nn.Module:
    """Instance norm."""
    return fit(slot, dims.instance_norm(slot, slot.out_channels))
