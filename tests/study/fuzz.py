"""Mutated inputs for everything that reads what somebody else may have written. Prints what docs/reliability.md quotes.

    python tests/study/fuzz.py --inputs 1000000

`store` turns bytes of a study's file over and opens it; `space` and `point` mutate JSON. Whatever happens must be a result
or an error of ours: no crash, no panic (InternalError), no input that takes seconds, no memory that grows. The file is in
memory (/dev/shm) where there is such a place.
"""

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import modularnas as mn

SPACE = mn.SearchSpace(
    {
        "op": mn.choice(["conv", "pool", None, 1.5, True]),
        "k": mn.choice([3, 5, (1, 2)], active_if=("op", ["conv"])),
        "n": mn.integer(1, 9, step=2),
        "lr": mn.real(1e-4, 1e-1, log=True),
        "at": mn.subset(["a", "b", "c"], take=2),
    }
)
OURS = (mn.SpaceError, mn.StudyError, mn.StorageError, mn.SearchError)


def mutated(content, rng):
    """A copy with some bytes changed, removed, doubled or moved."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if not content:
            break
        at, length = rng.randrange(len(content)), rng.randint(1, 16)
        kind = rng.randrange(5)
        if kind == 0:
            content[at] = rng.randrange(256)
        elif kind == 1:
            del content[at : at + length]
        elif kind == 2:
            content[at:at] = content[at : at + length]
        elif kind == 3:
            content[at : at + length] = rng.choice(
                [b"null", b"-1", b"1e999", b"[[[[", b"{}", b'"', b"\xff", b"NaN", b"\x00" * 8]
            )
        else:
            content[at] ^= 1 << rng.randrange(8)
    return bytes(content)


class Store:
    """A study's file."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "run.db"
        s = self.open()
        s.optimize(lambda p: float(p["n"]), trials=6, batch=6, progress=False)
        (trial,) = s.ask()
        trial.report(1, 0.5)
        del s, trial
        self.content = self.file.read_bytes()

    def open(self):
        """Opens it."""
        return mn.Study(SPACE, mn.search.Random(), {"s": "max"}, storage=self.file, seed=0)

    def try_one(self, rng):
        """One mutated file."""
        for suffix in ("-wal", "-shm", "-journal"):
            self.file.with_name(f"run.db{suffix}").unlink(missing_ok=True)
        content = bytearray(self.content)
        for _ in range(rng.randint(1, 20)):
            at = rng.randrange(len(content))
            content[at : at + 4] = rng.randbytes(rng.randint(1, 4)) if rng.random() < 0.5 else bytes(4)
        if rng.random() < 0.1:
            del content[rng.randrange(len(content)) :]
        self.file.write_bytes(content)
        self.open().trials  # noqa: B018


class Json:
    """A space or a point as JSON."""

    def __init__(self, text, read):
        self.content = text.encode()
        self.read = read

    def try_one(self, rng):
        """One mutated text."""
        self.read(mutated(self.content, rng).decode("utf-8", "replace"))


def read_point(text):
    """As a user does it."""
    import json

    try:
        values = json.loads(text)
    except ValueError:
        return
    SPACE.point(values)


def targets(folder):
    """What is fuzzed, by name."""
    return {
        "store": Store(folder),
        "space": Json(SPACE.to_json(), mn.SearchSpace.from_json),
        "point": Json(SPACE.sample(seed=0).to_json(), read_point),
    }


def fuzz(target, inputs, seed=0):
    """How many inputs were refused, the longest time of one, and the growth of memory in MB."""
    rng, refused, longest_s = random.Random(seed), 0, 0.0
    warm_mb = None
    for i in range(inputs):
        start = time.perf_counter()
        try:
            target.try_one(rng)
        except OURS:
            refused += 1
        longest_s = max(longest_s, time.perf_counter() - start)
        if i == min(inputs // 10, 10_000):
            warm_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return refused, longest_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - warm_mb


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--target", choices=["store", "space", "point"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=shm if shm.is_dir() else None))
    try:
        for name, target in targets(folder).items():
            if options.target in (None, name):
                start = time.monotonic()
                refused, longest_s, growth_mb = fuzz(target, options.inputs, options.seed)
                print(
                    f"{name}: {options.inputs} inputs in {time.monotonic() - start:.0f} s, {refused} refused, no other "
                    f"error; longest {1000 * longest_s:.0f} ms, memory grew by {growth_mb:.1f} MB",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
