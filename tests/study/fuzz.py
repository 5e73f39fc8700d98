"""Mutated inputs for everything that reads what somebody else may have written. Prints what docs/reliability.md quotes.

    python tests/study/fuzz.py --inputs 1500000

`store` turns bytes of a study's file over and opens it, `show`, `report` and `repair` do what the commands of that name do with
such a file; `space`, `point`, `latency` mutate JSON, `yaml` a described pipeline, `parameter` a decision of a command line.
Whatever happens must be a result or an error of ours: no crash, no panic (InternalError), no input that takes seconds, no
memory that grows. The files are in memory (/dev/shm) where there is such a place.
"""

import argparse
import contextlib
import copy
import importlib
import io
import json
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import modularnas as mn
from modularnas.pipeline.described import read_pipeline
from modularnas.tuning import parse_parameter

SPACE = mn.SearchSpace(
    {
        "op": mn.choice(["conv", "pool", None, 1.5, True]),
        "k": mn.choice([3, 5, (1, 2)], active_if=("op", ["conv"])),
        "n": mn.integer(1, 9, step=2),
        "lr": mn.real(1e-4, 1e-1, log=True),
        "at": mn.subset(["a", "b", "c"], take=2),
    }
)
OURS = (mn.SpaceError, mn.StudyError, mn.StorageError, mn.SearchError, mn.EvaluationError, mn.PipelineError)
JUNK = [b"null", b"-1", b"1e999", b"[[[[", b"{}", b'"', b"\xff", b"NaN", b"\x00" * 8]
VALUES = [None, True, -1, 0, 1, 2, 7, 0.5, 1e-320, 1e308, float("inf"), float("nan"), 2**31, -(2**63), 2**64, 2**200, "", "a", "conv",
          "lr", "\x00", "x" * 1000, [], {}, [[]], [None], {"a": 1}, [[1, 2], [3, 4]]]  # fmt: skip
YAML_JUNK = [b"&a ", b"*a", b"<<: *a", b"? ", b"- ", b": ", b"!!binary x", b"!!timestamp 2000-99-99", b"!!python/object:os.system {}",
             b"!!set {a, a}", b"0x", b"0b2", b"1:99", b"2000-13-40", b"\t", b"|\n", b"---\n", b"%", b"${epochs}", b"\xc2\x85"]  # fmt: skip
DEEP = [*JUNK, b"[" * 2000]
YAML = """name: mine
seed: 3
settings: {epochs: 2, at: &a [1, {b: 2}]}
smoke: {epochs: 1}
stages:
  construct:
    model: darts
    arguments: {layers: "${epochs}", more: *a}
    task: {data: digits}
  search:
    run: differentiable_search
    inputs: {supernet: construct.supernet, weights: construct.weights}
    algorithm: DARTS
    epochs: ${epochs}
    lr: 2.5e-2
    after: [construct]
"""


#: Percents of all inputs, by how long one takes.
SHARES = {
    "store": 14,
    "show": 3,
    "report": 3,
    "repair": 3,
    "space": 26,
    "point": 26,
    "latency": 7,
    "yaml": 4,
    "parameter": 14,
}


def mutated(content, rng, junk=JUNK):
    """A copy with some bytes changed, removed, doubled or moved."""
    content = bytearray(content)
    for _ in range(rng.randint(1, rng.choice([1, 2, 8]))):
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
            content[at : at + length] = rng.choice(junk)
        else:
            content[at] ^= 1 << rng.randrange(8)
    return bytes(content)


def regrown(data, rng):
    """JSON data with one of its parts replaced, removed or doubled."""
    holders = [holder for holder in walk(data) if holder]
    if not holders:
        return copy.deepcopy(rng.choice(VALUES))
    holder = rng.choice(holders)
    key = rng.choice(list(holder) if type(holder) is dict else range(len(holder)))
    kind = rng.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and type(holder) is list:
        holder.insert(key, holder[key])
    else:
        holder[key] = copy.deepcopy(rng.choice(VALUES)) if kind > 1 else [holder[key]]
    return data


def walk(holder):
    """Every list and dict in it."""
    if type(holder) not in (list, dict):
        return
    yield holder
    for part in holder if type(holder) is list else holder.values():
        yield from walk(part)


class Store:
    """A study's file, and what reads it."""

    def __init__(self, folder, read):
        self.file = folder / "run.db"
        self.read = read
        s = open_study(self.file)
        s.optimize(lambda p: float(p["n"]), trials=6, batch=6, progress=False)
        (trial,) = s.ask()
        trial.report(1, 0.5)
        del s, trial
        self.content = self.file.read_bytes()

    def try_one(self, rng):
        """One mutated file."""
        for file in self.file.parent.glob("run.db?*"):
            file.unlink()
        content = bytearray(self.content)
        for _ in range(rng.randint(1, 20)):
            at = rng.randrange(len(content))
            content[at : at + 4] = rng.randbytes(rng.randint(1, 4)) if rng.random() < 0.5 else bytes(4)
        if rng.random() < 0.1:
            del content[rng.randrange(len(content)) :]
        self.file.write_bytes(content)
        self.read(self.file)


def open_study(file):
    """Opens it as its owner does."""
    return mn.Study(SPACE, mn.search.Random(), {"s": "max"}, storage=file, seed=0)


def command(name):
    """What `modularnas NAME FILE` does, without its words."""
    options = argparse.Namespace(json=True)
    run = importlib.import_module(f"modularnas.cli.{name}").run

    def read(file):
        options.file, options.path, options.paths, options.out = str(file), str(file), [str(file)], None
        with contextlib.redirect_stdout(io.StringIO()):
            run(options)

    return read


class Text:
    """A text, and what reads it."""

    def __init__(self, text, read, junk=JUNK):
        self.content = text.encode()
        self.read = read
        self.junk = junk
        self.is_json = text.startswith("{")

    def try_one(self, rng):
        """One mutated text."""
        if self.is_json and rng.random() < 0.5:
            data = json.loads(self.content)
            for _ in range(rng.randint(1, 3)):
                data = regrown(data, rng)
            self.read(json.dumps(data).encode())
        else:
            self.read(mutated(self.content, rng, self.junk))


def text_of(read):
    """A reader of bytes made of one of text."""
    return lambda content: read(content.decode("utf-8", "replace"))


def read_point(text):
    """As a user does it."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return
    SPACE.point(values)


def latency_table():
    """One that was fitted."""
    space = mn.SearchSpace({"a": mn.choice([1, 2, 3]), "b": mn.choice([1, 2])})
    points = [space.unrank(i) for i in range(6)]
    tables = [([i], {(code,): (1.0 + code, 0.1) for code in range(n)}) for i, n in enumerate((3, 2))]
    return mn.evaluate.LatencyTable(space, tables, space.indices(points), [float(i + 1) for i in range(6)], "cpu")


def targets(folder):
    """What makes the inputs, by name."""
    yaml = folder / "pipeline.yaml"

    def read_yaml(content):
        yaml.write_bytes(content)
        read_pipeline(yaml)

    return {
        "store": lambda: Store(folder, lambda file: open_study(file).trials),
        "show": lambda: Store(folder, command("show")),
        "report": lambda: Store(folder, command("report")),
        "repair": lambda: Store(folder, command("repair")),
        "space": lambda: Text(SPACE.to_json(), text_of(mn.SearchSpace.from_json), DEEP),
        "point": lambda: Text(SPACE.sample(seed=0).to_json(), text_of(read_point), DEEP),
        "latency": lambda: Text(latency_table().to_json(), text_of(mn.evaluate.LatencyTable.from_json), DEEP),
        "yaml": lambda: Text(YAML, read_yaml, JUNK + YAML_JUNK),
        "parameter": lambda: Text("lr=log(1e-4, 1e-1)", text_of(parse_parameter)),
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
    parser.add_argument("--inputs", type=int, default=1_500_000, help="of all targets together")
    parser.add_argument("--target", help="one of those above; all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=shm if shm.is_dir() else None))
    try:
        for name, make in targets(folder).items():
            if options.target in (None, name):
                target, inputs = make(), options.inputs * (100 if options.target else SHARES[name]) // 100
                start = time.monotonic()
                refused, longest_s, growth_mb = fuzz(target, inputs, options.seed)
                print(
                    f"{name}: {inputs} inputs in {time.monotonic() - start:.0f} s, {refused} refused, no other "
                    f"error; longest {1000 * longest_s:.0f} ms, memory grew by {growth_mb:.1f} MB",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
