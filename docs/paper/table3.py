"""Table 3, image classification: `python docs/paper/table3.py --data DATA [--recipe gpu]`."""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from experiment import FILES, main, settings

import modularnas as mn

read = functools.cache(mn.tasks.image.read)  # all rows read the same files


def build(row, data, recipe, seed):
    """The task of a row; where the recipe names no ImageNet, CIFAR-10 stands in for it."""
    space = dict(recipe["spaces"][row["space"]])
    path = recipe.get("imagenet") if row["data"] == "ImageNet" else None
    pictures = path or read(data / FILES.get(row["data"], FILES["C10"]))
    return mn.tasks.image.create(pictures, seed=seed, space=space.pop("name"), **settings(recipe), **space)[0]


if __name__ == "__main__":
    main("table3", build)
