"""Table 4, voice recognition: `python docs/paper/table4.py --data DATA [--recipe gpu]`."""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from experiment import FILES, main, settings

import modularnas as mn

read = functools.cache(mn.tasks.voice.read)  # all rows read the same file


def build(row, data, recipe, seed):
    """The task of a row; other networks than ResNet-34 are ready spaces of which the original is trained."""
    space = dict(recipe["spaces"][row["space"]])
    name = space.pop("name", "audio_resnet34")
    recordings = read(data / FILES["voice"])
    return mn.tasks.voice.create(recordings, seed=seed, space=name, **settings(recipe), **space)[0]


if __name__ == "__main__":
    main("table4", build)
