"""Elastic depth and width, as in Once-for-All."""

from model import spectrogram, voice_net

import modularnas as mn

rules = [mn.rules.depth(), mn.rules.width(0.5, 0.75, 1.0)]
supernet = mn.rewrite(voice_net(), rules, example=spectrogram())
