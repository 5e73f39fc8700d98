"""`modularnas benchmark`."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modularnas import benchmarks, search
from modularnas.cli.arguments import add_command, print_json
from modularnas.errors import EvaluationError
from modularnas.pipeline.near import near

_KINDS = {
    "nasbench101": benchmarks.NASBench101,
    "nasbench201": benchmarks.NASBench201,
    "nasbench_graph": benchmarks.NASBenchGraph,
    "nasbench_macro": benchmarks.NASBenchMacro,
    "synthetic": benchmarks.synthetic,
    "taskset": benchmarks.HPOTaskSet,
}


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "benchmark",
        run,
        "compare search algorithms on a benchmark with known answers, over many seeds",
        [
            "benchmark nasbench201 --data nasbench201.npz --algorithms random regularized_evolution --trials 200",
            "benchmark synthetic --data sphere --algorithms random tpe cma_es --json",
        ],
    )
    command.add_argument("benchmark", choices=sorted(_KINDS), help="which")
    command.add_argument("--data", metavar="FILE", help="its table; of synthetic the name of the function")
    command.add_argument("--dataset", help="of NAS-Bench-201 and NAS-Bench-Graph")
    command.add_argument("--algorithms", nargs="+", default=["random", "regularized_evolution"], metavar="NAME")
    command.add_argument("--trials", type=int, default=200, help="of every search (default: %(default)s)")
    command.add_argument("--seeds", type=int, default=100, help="how many (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    for name in options.algorithms:
        if name not in search.names():
            raise EvaluationError(f"there is no algorithm '{name}'{near(name, search.names())}")
    if options.data is None:
        raise EvaluationError(
            f"benchmark {options.benchmark} needs --data, its table (synthetic: the name of a function)"
        )
    make: Any = _KINDS[options.benchmark]
    try:
        bench = make(options.data, dataset=options.dataset) if options.dataset else make(options.data)
    except TypeError as error:
        raise EvaluationError(f"benchmark {options.benchmark}: {error}") from error
    curves = benchmarks.replay(bench, options.algorithms, trials=options.trials, seeds=options.seeds)
    rows = {name: _summary(curve[:, -1]) for name, curve in curves.items()}
    if options.json:
        print_json({"metric": bench.reported, "trials": options.trials, "seeds": options.seeds, "algorithms": rows})
        return
    print(
        f"{bench.reported} of the incumbent, {options.trials} trials, {options.seeds} seeds: mean (95 % of the seeds)"
    )
    for name, row in sorted(
        rows.items(), key=lambda item: item[1]["mean"], reverse=bench.metrics[bench.reported] == "max"
    ):
        print(f"{name:26}{row['mean']:12.6g}  ({row['low']:.6g} to {row['high']:.6g})")


def _summary(values: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
