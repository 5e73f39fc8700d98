"""The rooms and their arrows, as data: who may use whom. rustc does not check arrows inside a crate."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]

#: Room of the crate: the other rooms it may use. Nobody may use `bindings`.
RUST = {
    "error": set(),
    "rng": set(),
    "space": {"error", "rng"},
    "trial": {"error", "space"},
    "cost": {"error", "rng", "space"},
    "network": {"error", "space", "cost"},
    "predict": {"error", "rng", "space"},
    "search": {"error", "rng", "space", "trial", "cost", "predict"},
    "transform": {"error", "rng", "space", "network"},
    "kernel": {"error"},
    "evaluate": {"error", "rng", "trial"},
    "study": {"error", "rng", "space", "trial", "cost", "search", "evaluate"},
    "benchmark": {"error", "space", "trial", "search", "evaluate"},
    "bindings": {
        "error",
        "rng",
        "space",
        "trial",
        "cost",
        "network",
        "kernel",
        "predict",
        "search",
        "transform",
        "evaluate",
        "benchmark",
        "study",
    },
}

#: Room of the package: the other rooms it may use (`_core` is everybody's).
PYTHON = {
    "errors": set(),
    "outcome": set(),
    "ops": {"errors"},
    "nn": set(),
    "transform": {"errors", "ops", "nn", "train"},
    "spaces": {"errors", "ops", "transform"},
    "evaluate": {"errors", "outcome"},
    "search": {"errors", "nn"},
    "pareto": {"errors"},
    "progress": {"study"},
    "pruners": set(),
    "observers": {"errors"},
    "study": {"errors", "evaluate", "outcome", "progress", "pruners"},
    "distributed": {"errors", "outcome", "study"},
    "testing": set(),
    "train": {"errors"},
    "tasks": {"errors", "evaluate", "search", "spaces", "study", "train", "transform"},
    "demo": {"errors", "evaluate", "rules", "search", "study", "tasks", "transform"},
    "tuning": {"errors", "outcome", "study"},
    "pipeline": {
        "demo",
        "errors",
        "evaluate",
        "pareto",
        "rules",
        "search",
        "spaces",
        "study",
        "train",
        "transform",
        "tuning",
    },
    "automatic": {"errors", "evaluate", "pipeline", "search", "study", "transform"},
    "cli": {
        "__version__",
        "SearchSpace",
        "Study",
        "benchmarks",
        "demo",
        "derive",
        "errors",
        "export",
        "ops",
        "pareto",
        "pipeline",
        "search",
        "spaces",
        "tasks",
        "tuning",
    },
    "benchmarks": {"errors", "search"},
}

#: What only one room may say.
WORDS = {
    r"\b(?:pyo3|numpy|pyo3_tch|pythonize)\b": ["bindings/"],
    r"\btch::": ["bindings/", "transform/state/"],
    r"\brusqlite\b": ["study/"],
}


def code(path):
    """A Rust file without its comments and its tests, which may build on any room."""
    text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    return text.split("#[cfg(test)]\nmod tests")[0].split("#[cfg(test)]\npub(crate) mod tests")[0]


def files(room):
    folder = ROOT / "src" / room
    return sorted(folder.rglob("*.rs")) if folder.is_dir() else [ROOT / "src" / f"{room}.rs"]


def test_every_room_of_the_crate_is_in_the_table():
    found = {path.stem for path in (ROOT / "src").iterdir()} - {"lib"}
    assert found == set(RUST)


@pytest.mark.parametrize("room", RUST)
def test_rust_arrows(room):
    for path in files(room):
        used = set(re.findall(r"\bcrate::(\w+)", code(path))) - {room}
        assert used <= RUST[room], f"{path.relative_to(ROOT)} uses {used - RUST[room]}"


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.rs")), ids=lambda path: str(path.relative_to(ROOT)))
def test_super_stays_in_the_room(path):
    """`super::super` must not climb to another room, past the table above."""
    place = path.relative_to(ROOT / "src")
    level = len(place.parts) - (path.stem in ("mod", "lib"))
    for climb in re.findall(r"(?:super::)+", code(path)):
        assert climb.count("super::") < max(level, 1), f"{place} says {climb}"


def test_every_room_of_the_package_is_in_the_table():
    found = {path.stem for path in (ROOT / "python" / "modularnas").iterdir() if path.suffix in ("", ".py")}
    assert found - {"__init__", "__main__", "__pycache__", "_torch", "py"} == set(PYTHON)


@pytest.mark.parametrize("word", WORDS)
def test_only_one_room_knows_a_library(word):
    for path in sorted((ROOT / "src").rglob("*.rs")):
        place = path.relative_to(ROOT / "src").as_posix()
        if not any(place.startswith(room) for room in WORDS[word]):
            assert not re.search(word, code(path)), f"{place} says {word}"


@pytest.mark.parametrize("room", PYTHON)
def test_python_arrows(room):
    folder = ROOT / "python" / "modularnas" / room
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert paths
    for path in paths:
        text = path.read_text(encoding="utf-8")
        used = set(re.findall(r"^\s*(?:from|import) modularnas\.(\w+)", text, re.M))
        used |= set(re.findall(r"^\s*from modularnas import (\w+)", text, re.M))
        used -= {room, "_core"}
        assert used <= PYTHON[room], f"{path.relative_to(ROOT)} uses {used - PYTHON[room]}"
