"""Table 7, lines of user code for the voice task: `python docs/paper/table7.py [--data DATA]` counts them.

The four setups are files in `table7/` beside this one; with the research data they are also run. Counted are lines with
code other than imports and docstrings; the user's own model and training are given in all setups and not counted. A
random search with every network trained alone and a ProxylessNAS supernet are the same space with another method by
name.
"""

import argparse
import ast
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "table7")]

#: Setup: the file that a user writes, the method that runs it, and published lines: ModularNAS, NNI, without a library.
SETUPS = {
    "search space": ("space.py", None, ("< 10", "30", "N/A")),
    "A: random search, each network trained alone": (None, "Subnet+Random", ("0", "15", "150")),
    "B: ProxylessNAS supernet": (None, "Proxyless-G", ("0", "15", "200")),
    "C: elastic depth and width": ("elastic.py", "SPOS+RE", ("25", "200", "> 500")),
}


def count(path):
    """Lines of a file with code that is neither an import nor a docstring."""
    lines = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not isinstance(node, (ast.Import, ast.ImportFrom)) and not docstring:
            lines.update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def counted():
    """The lines of each setup."""
    return {setup: count(HERE / "table7" / file) if file else 0 for setup, (file, _, _) in SETUPS.items()}


def run(setup, data):
    """Runs a setup in smoke size; returns the test accuracy of what it found."""
    from experiment import Run, run_row

    import modularnas as mn

    file, method, _ = SETUPS[setup]
    supernet = importlib.import_module(Path(file or "space.py").stem).supernet
    task, _ = mn.tasks.voice.create(data / "fsdd_8k.npz", smoke=True)
    recipe = {"epochs": 1, "search_epochs": 1, "trials": 4, "alone": 1}
    made = Run(task, recipe, 0, "cpu", supernet)
    return run_row(made, method or "original")["accuracy"]


def report():
    """The table as markdown."""
    lines = [
        "| setup | ours | ModularNAS, published | NNI, published | no library, published |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {setup} | {n} | {' | '.join(SETUPS[setup][2])} |" for setup, n in counted().items()]
    return "\n".join(lines) + "\n\nCounted by `docs/paper/table7.py` from files that its tests run.\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the research data; runs the setups too")
    options = parser.parse_args()
    print(report())
    if options.data:
        for setup in SETUPS:
            print(f"{setup}: ran, accuracy {run(setup, options.data):.3f}")
