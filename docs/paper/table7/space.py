"""The search space: each block is one of four variants of it."""

from model import BasicBlock, spectrogram, voice_net

import modularnas as mn

VARIANTS = ["original", "basic_block_5x5", "basic_block_3x3_preact", "basic_block_3x3_se"]
supernet = mn.rewrite(voice_net(), [mn.rules.replace(BasicBlock, VARIANTS)], example=spectrogram())
