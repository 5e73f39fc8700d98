"""Table 5, recommendation: `python docs/paper/table5.py --data DATA [--recipe gpu]`."""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from experiment import FILES, main, settings

import modularnas as mn

read = functools.cache(mn.tasks.recommendation.read)  # all rows read the same file


def build(row, data, recipe, seed):
    """The task of a row; DeepFM and DCN are networks of fixed branches."""
    space = dict(recipe["spaces"][row["space"]])
    given = settings(recipe)
    clicks = Path(given.pop("path")) if "path" in given else read(data / FILES["CTR"])
    return mn.tasks.recommendation.create(clicks, seed=seed, **given, **space)[0]


if __name__ == "__main__":
    main("table5", build)
