"""Benchmarks: search spaces whose answers are known, to judge search algorithms by.

Each function reads one published file (with NumPy) and makes a `Benchmark`, which answers in the native half: it has
`.space`, `.optimum`, `.query(…)`, and is the evaluator of a study. `replay` runs algorithms over many seeds, `regret`
and `plot` show what they reached. Accuracies are in percent. The files and where they come from are named in
`docs/benchmarks.md`.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modularnas import _core
from modularnas._core import Benchmark
from modularnas.errors import EvaluationError, MissingExtraError
from modularnas.search import Algorithm, create

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = [
    "Benchmark",
    "HPOTaskSet",
    "NASBench101",
    "NASBench201",
    "NASBenchGraph",
    "NASBenchMacro",
    "Regret",
    "plot",
    "regret",
    "replay",
    "synthetic",
    "to_pandas",
]

_Path: TypeAlias = str | os.PathLike[str]
_Floats: TypeAlias = NDArray[np.float64]
_Columns: TypeAlias = list[tuple[str, bool, list[_Floats]]]


def NASBench201(path: _Path, dataset: str = "cifar10") -> Benchmark:
    """NAS-Bench-201 (Dong and Yang 2020, arXiv 2001.00326): 15,625 cells, five operations on each of six edges.

    A search is after "valid_accuracy" and judged by "test_accuracy", both after 200 epochs; a fidelity below 1 answers
    with 12 epochs. It knows "macs", "params", "synflow" (its logarithm), "naswot" and "latency_…_ms" of 27 devices too.

    Args:
        path: nasbench201.npz.
        dataset: "cifar10", "cifar100" or "ImageNet16-120".

    Raises:
        EvaluationError: for a missing or another file, or an unknown data set.
    """
    names = ["ops", "op_names", "datasets", "valid200", "test200", "valid12", "test12", "flops_M", "params"]
    z = _arrays(path, "NAS-Bench-201", [*names, "synflow_log10", "naswot", "latency_ms", "devices"])
    d = _position([*z["datasets"]], dataset, "NASBench201")
    columns: _Columns = [
        ("valid_accuracy", True, [_floats(z["valid12"][:, d]), _floats(z["valid200"][:, d])]),
        ("test_accuracy", True, [_floats(z["test12"][:, d]), _floats(z["test200"][:, d])]),
        ("macs", False, [_floats(z["flops_M"][:, d]) * 1e6]),
        ("params", False, [_floats(z["params"][:, d])]),
        ("synflow", True, [_floats(z["synflow_log10"][:, d])]),
        ("naswot", True, [_floats(z["naswot"][:, d])]),
    ]
    columns += [(f"latency_{name}_ms", False, [_floats(z["latency_ms"][:, i])]) for i, name in enumerate(z["devices"])]
    return _core.Benchmark.nasbench201(list(map(str, z["op_names"])), z["ops"], columns)


def NASBench101(path: _Path, *, repeat: int | None = None, cache: _Path | bool = True) -> Benchmark:
    """NAS-Bench-101 (Ying et al. 2019, arXiv 1902.09635): 423,624 cells of up to seven vertices and nine edges.

    The space is the paper's: 21 binary edges and five ternary operations. Vertices that lead nowhere are pruned,
    isomorphic cells are one; points that are no cell fail, and cost no trial in `replay`. With an official file a
    search is after "valid_accuracy"; the small table has mean "test_accuracy" and "params" only, so there it is after
    the former.

    Args:
        path: nasbench101.npz, or an official `nasbench_only108.tfrecord` or `nasbench_full.tfrecord`.
        repeat: of an official file, answer with this one of the three trainings (0, 1, 2) instead of their mean.
        cache: where the compact copy of an official file is kept; True: beside it, if that folder can be written;
            False: nowhere.

    Raises:
        EvaluationError: for a missing, damaged or another file, naming the byte.
    """
    path = Path(path)
    if path.suffix == ".tfrecord":
        if not path.is_file():
            raise EvaluationError(f"there is no file '{path}'; expected an official NAS-Bench-101 file")
        copy = path.with_suffix(".compact") if cache is True else None if cache is False else Path(cache)
        if cache is True and not os.access(path.parent, os.W_OK):
            copy = None
        return _core.Benchmark.nasbench101_official(path, copy, repeat)
    z = _arrays(path, "NAS-Bench-101", ["n", "adj", "ops", "test_k", "params"])
    if repeat is not None:
        raise EvaluationError(f"repeat is {repeat}, but '{path}' has only means; leave it out or give an official file")
    columns: _Columns = [
        ("test_accuracy", True, [z["test_k"] * (100 / 29952)]),  # three runs of 9,984 pictures each
        ("params", False, [_floats(z["params"])]),
    ]
    return _core.Benchmark.nasbench101(z["n"], z["adj"], z["ops"], columns)


def NASBenchMacro(path: _Path) -> Benchmark:
    """NAS-Bench-Macro (Su et al. 2021, arXiv 2103.11922): eight layers of three candidates, 6,561 networks, CIFAR-10.

    There is no validation accuracy: a search is after the mean "test_accuracy" of three runs. It knows "macs" and
    "params" too.

    Args:
        path: nasbench_macro.npz.

    Raises:
        EvaluationError: for a missing or another file.
    """
    z = _arrays(path, "NAS-Bench-Macro", ["arch", "test_acc", "params", "flops"])
    columns: _Columns = [
        ("test_accuracy", True, [_floats(z["test_acc"]).mean(1)]),
        ("macs", False, [_floats(z["flops"])]),
        ("params", False, [_floats(z["params"])]),
    ]
    return _core.Benchmark.nasbench_macro(z["arch"], columns)


def NASBenchGraph(path: _Path, dataset: str = "cora") -> Benchmark:
    """NAS-Bench-Graph (Qin et al. 2022, arXiv 2206.09166): graph neural networks of four layers, 26,206 different ones.

    A search is after "valid_accuracy" and judged by "test_accuracy" (of proteins: the area under the curve). It knows
    "latency_s" and "params" too. Networks of skip connections alone were not trained and fail.

    Args:
        path: nasbench_graph.npz.
        dataset: one of its data sets, such as "cora", "citeseer", "pubmed", "arxiv" or "proteins".

    Raises:
        EvaluationError: for a missing or another file, or an unknown data set.
    """
    names = ["links", "op_names", "datasets", "link", "ops", "valid", "test", "latency_s", "params_M"]
    proteins = ["proteins_link", "proteins_ops", "proteins_valid", "proteins_test"]
    z = _arrays(path, "NAS-Bench-Graph", [*names, *proteins, "proteins_latency_s", "proteins_params_M"])
    if dataset == "proteins":
        link, ops, d = z["proteins_link"], z["proteins_ops"], None
    else:
        link, ops = z["link"], z["ops"]
        d = _position([*z["datasets"], "proteins"], dataset, "NASBenchGraph")

    def column(name: str) -> _Floats:
        return _floats(z[f"proteins_{name}"] if d is None else z[name][:, d])

    columns: _Columns = [
        ("valid_accuracy", True, [column("valid") * 100]),
        ("test_accuracy", True, [column("test") * 100]),
        ("latency_s", False, [column("latency_s")]),
        ("params", False, [column("params_M") * 1e6]),
    ]
    return _core.Benchmark.nasbench_graph(z["links"], list(map(str, z["op_names"])), link, ops, columns)


def HPOTaskSet(path: _Path, task: int | str = 0) -> Benchmark:
    """TaskSet (Metz et al. 2020, arXiv 2002.11887): eight hyper-parameters of Adam on text tasks, with learning curves.

    The space is continuous; a point has the curve of the nearest of 1,000 recorded settings. A search is after
    "valid_loss"; "test_loss" is known of full trainings. A setting whose training diverged fails.

    Args:
        path: taskset_adam8p.npz.
        task: the number or the name of one of its twelve tasks.

    Raises:
        EvaluationError: for a missing or another file, or an unknown task.
    """
    z = _arrays(path, "TaskSet", ["hp_names", "hp", "tasks", "valid_loss", "test_loss_final"])
    tasks = list(map(str, z["tasks"]))
    if isinstance(task, str):
        t = _position(tasks, task, "HPOTaskSet", "task")
    elif 0 <= task < len(tasks):
        t = task
    else:
        raise EvaluationError(f"task is {task}; expected 0 to {len(tasks) - 1} or a name")
    names = list(map(str, z["hp_names"]))
    curves = (_floats(z["valid_loss"][t]), _floats(z["test_loss_final"][t]))
    return _core.Benchmark.hpo_taskset(names, _floats(z["hp"]), *curves)


def synthetic(name: str, dimensions: int | None = None, objectives: int | None = None) -> Benchmark:
    """A function whose optimum is known.

    Args:
        name: "sphere" (one objective on real, integer and categorical decisions in turn), or of several objectives on
            reals "zdt1" to "zdt4", "zdt6" (Zitzler et al. 2000), "dtlz1", "dtlz2", "dtlz7" (Deb et al. 2005).
        dimensions: the number of decisions; None: as in the paper.
        objectives: the number of objectives of a DTLZ function; None: 3.

    Raises:
        EvaluationError: for an unknown name (with near matches) or numbers that it is not made for.

    Example:
        >>> bench = mn.benchmarks.synthetic("sphere", dimensions=3)
        >>> bench.optimum
        {'loss': 0.0}
        >>> bench.query({"x1": 0.3, "x2": 2, "x3": "centre"})
        {'loss': 0.0}
    """
    return _core.Benchmark.synthetic(name, dimensions, objectives)


def replay(
    bench: Benchmark,
    algorithms: Sequence[Algorithm | str] | Mapping[str, Algorithm | str],
    *,
    trials: int = 1000,
    seeds: int = 100,
    first_seed: int = 0,
    distinct: bool = False,
) -> dict[str, _Floats]:
    """Runs algorithms on a benchmark over many seeds, in parallel and in the native half.

    Each run is what a study with this seed and one worker would do. Points that the benchmark refuses cost no trial.

    Args:
        bench: the benchmark.
        algorithms: registered algorithms or their names; in a dict, by labels of your own.
        trials: trials of a run.
        seeds: runs of each algorithm.
        first_seed: the seed of the first run; the others follow.
        distinct: whether an architecture that a run knows already, such as an isomorphic cell, costs no trial; that is
            how searches on NAS-Bench-101 are compared in print.

    Returns:
        For each label (without labels the name, or where that occurs twice the whole text of the algorithm) an array
        (seeds, trials): `bench.reported` at full fidelity of the incumbent, which is the best by the objective so far.

    Raises:
        EvaluationError: for an algorithm that is not a registered one.

    Example:
        >>> bench = mn.benchmarks.synthetic("sphere")
        >>> curves = mn.benchmarks.replay(bench, ["random", mn.search.RegularizedEvolution()], trials=300, seeds=20)
        >>> curves["regularized_evolution"].shape
        (20, 300)
        >>> bool(curves["regularized_evolution"][:, -1].mean() < curves["random"][:, -1].mean())
        True
    """
    labelled = _labelled(algorithms)
    native = [(algorithm.name, algorithm.settings) for algorithm in labelled.values()]
    return dict(zip(labelled, _core.replay_curves(bench, native, trials, seeds, first_seed, distinct), strict=True))


@dataclass(frozen=True)
class Regret:
    """How far from the optimum the incumbents were: arrays (trials,).

    Attributes:
        mean: the mean over the seeds.
        low: the lower end of the band that holds the mean with the chosen confidence.
        high: its upper end.
        median: the median over the seeds.
    """

    mean: _Floats
    low: _Floats
    high: _Floats
    median: _Floats


def regret(bench: Benchmark, curves: Mapping[str, _Floats], *, confidence: float = 0.95) -> dict[str, Regret]:
    """The regret of replayed curves, with a confidence band of the mean by the central limit theorem.

    Args:
        bench: the benchmark that was replayed; its optimum of the reported metric must be known.
        curves: what `replay` returned.
        confidence: the chance that a band holds the mean; above 0 and below 1.

    Raises:
        EvaluationError: if nobody knows the optimum, or confidence is out of range.

    Example:
        >>> bench = mn.benchmarks.synthetic("sphere")
        >>> curves = mn.benchmarks.replay(bench, ["random"], trials=100, seeds=20)
        >>> r = mn.benchmarks.regret(bench, curves)["random"]
        >>> bool((r.low <= r.mean).all() and r.mean[0] > r.mean[-1] > 0)
        True
    """
    if not 0 < confidence < 1:
        raise EvaluationError(f"confidence is {confidence}; expected above 0 and below 1")
    optimum = bench.optimum[bench.reported]
    if np.isnan(optimum):
        why = f"nobody knows the optimum of '{bench.reported}' on {bench.name}"
        raise EvaluationError(f"{why}; look at the curves instead")
    sign = 1 if bench.metrics[bench.reported] == "min" else -1
    width = _normal_quantile(0.5 + confidence / 2)
    found = {}
    for label, curve in curves.items():
        distance = sign * (np.asarray(curve) - optimum)
        mean = distance.mean(0)
        spread = distance.std(0, ddof=1) if len(distance) > 1 else np.full_like(mean, np.nan)
        half = width * spread / np.sqrt(len(distance))
        found[label] = Regret(mean, mean - half, mean + half, np.median(distance, 0))
    return found


def to_pandas(curves: Mapping[str, _Floats]) -> pd.DataFrame:
    """Replayed curves as a table: one row a trial, with columns "algorithm", "seed", "trial" and "value".

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise MissingExtraError('to_pandas needs pandas: pip install "modularnas[pandas]"') from error
    parts = []
    for label, curve in curves.items():
        seeds, trials = np.indices(curve.shape)
        columns = {"seed": seeds.ravel(), "trial": trials.ravel(), "value": np.asarray(curve).ravel()}
        parts.append(pd.DataFrame({"algorithm": label, **columns}))
    return pd.concat(parts, ignore_index=True)


def plot(bench: Benchmark, curves: Mapping[str, _Floats], *, confidence: float = 0.95, ax: Axes | None = None) -> Axes:
    """Draws the mean regret of replayed curves with confidence bands, on log scales.

    Args:
        bench: the benchmark that was replayed.
        curves: what `replay` returned.
        confidence: the chance that a band holds the mean.
        ax: where to draw; None: a new figure.

    Returns:
        The axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as error:
        raise MissingExtraError('plot needs matplotlib: pip install "modularnas[viz]"') from error
    if ax is None:
        ax = plt.subplots(layout="constrained")[1]
    for label, found in regret(bench, curves, confidence=confidence).items():
        trial = np.arange(1, len(found.mean) + 1)
        (line,) = ax.plot(trial, found.mean, label=label)
        ax.fill_between(trial, found.low, found.high, color=line.get_color(), alpha=0.2, linewidth=0)
    ax.set(xscale="log", yscale="log", xlabel="trials", ylabel=f"regret of {bench.reported}", title=bench.name)
    ax.legend()
    return ax


def _arrays(path: _Path, what: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file.

    Raises:
        EvaluationError: it is missing, no npz file or lacks an array.
    """
    expected = f"expected the {what} table, an npz file with the arrays {', '.join(names)}"
    try:
        with np.load(path, allow_pickle=False) as z:
            missing = [name for name in names if name not in getattr(z, "files", [])]
            if missing:
                raise EvaluationError(f"'{path}' has no array {', '.join(missing)}; {expected}")
            return {name: z[name] for name in names}
    except FileNotFoundError:
        raise EvaluationError(f"there is no file '{path}'; {expected}") from None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, EvaluationError):
            raise
        raise EvaluationError(f"'{path}' cannot be read ({error}); {expected}") from error


def _floats(values: NDArray[Any]) -> _Floats:
    return np.ascontiguousarray(values, np.float64)


def _position(names: Sequence[Any], name: str, benchmark: str, kind: str = "dataset") -> int:
    known = [str(one) for one in names]
    lowered = [one.lower() for one in known]
    if name.lower() not in lowered:
        raise EvaluationError(f"{benchmark} has no {kind} '{name}'; known: {', '.join(known)}")
    return lowered.index(name.lower())


def _labelled(algorithms: Sequence[Algorithm | str] | Mapping[str, Algorithm | str]) -> dict[str, Algorithm]:
    pairs = list(algorithms.items()) if isinstance(algorithms, Mapping) else [(None, one) for one in algorithms]
    made = [(label, create(one) if isinstance(one, str) else one) for label, one in pairs]
    for _, one in made:
        if not isinstance(one, Algorithm) or hasattr(one, "ask") or getattr(one, "estimator", None) is not None:
            raise EvaluationError(
                f"{one!r} is no algorithm of the native half; replay takes those of mn.search (not Human), "
                "others run in a study"
            )
    names = [one.name for _, one in made]
    labels = [label or (one.name if names.count(one.name) == 1 else repr(one)) for label, one in made]
    return dict(zip(labels, (one for _, one in made), strict=True))


def _normal_quantile(p: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)
