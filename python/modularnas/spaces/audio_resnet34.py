"""`audio_resnet34`: block variants of a ResNet-34 for spectrograms, ModularNAS' space for voice recognition.

A log-mel spectrogram `(N, 1, mels, frames)` is a picture of one channel. Every block of ResNet-34 (He et al. 2015,
arXiv 1512.03385, table 1) is one of the variants of the basic block (Lin et al., MLSys 2021, section 4.2, which names
none of
them): kernel 3 or 5, pre-activation, squeeze and excitation: 4¹⁶ networks. The plain block everywhere is the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from modularnas.spaces import resnet
from modularnas.spaces.registry import Parts, register
from modularnas.transform import rules

__all__ = ["VARIANTS", "create"]

#: The variants of the basic block.
VARIANTS = ("basic_block_3x3", "basic_block_5x5", "basic_block_3x3_preact", "basic_block_3x3_se")


@register("audio_resnet34")
def create(
    num_classes: int = 10,
    image_size: int = 64,
    frames: int | None = None,
    channels: int = 64,
    blocks: Sequence[int] = (3, 4, 6, 3),
    variants: Sequence[str] = VARIANTS,
) -> Parts:
    """The network with open blocks.

    Args:
        num_classes: classes.
        image_size: mel bands of the spectrogram.
        frames: its length; None: as many as bands.
        channels: of the first stage; doubled in the next ones.
        blocks: of each stage.
        variants: the candidate blocks.
    """
    model = resnet.network(lambda slot: slot, blocks, channels, num_classes, image_size, width=channels, in_channels=1)
    return model, [rules.slots(variants)], torch.randn(1, 1, image_size, frames or image_size)
