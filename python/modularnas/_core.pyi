import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, SupportsFloat, SupportsIndex, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Module

# A value of a decision.
_Label: TypeAlias = str | SupportsIndex | SupportsFloat | tuple[_Label, ...] | list[Any] | None
# (decision, values): active only while that decision takes one of the values.
_ActiveIf: TypeAlias = tuple[str, Sequence[_Label]]
_Bounds: TypeAlias = tuple[float | None, float | None]
# Decision, or pair of decisions, to one value a choice (rows of them for a pair).
_Tables: TypeAlias = Mapping[Any, Mapping[Any, float] | Iterable[Any]]
_Path: TypeAlias = str | os.PathLike[str]
# A metric's name, whether it is maximised, and one array for each fidelity or for all.
_Columns: TypeAlias = Sequence[tuple[str, bool, Sequence[NDArray[np.float64]]]]

__version__: str

@final
class Decision:
    """One variable of a search space."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["categorical", "integer", "real", "subset"]: ...
    @property
    def choices(self) -> tuple[Any, ...] | None: ...
    @property
    def low(self) -> int | float | None: ...
    @property
    def high(self) -> int | float | None: ...
    @property
    def step(self) -> int | None: ...
    @property
    def log(self) -> bool: ...
    @property
    def take(self) -> int | None: ...
    @property
    def active_if(self) -> tuple[str, tuple[Any, ...]] | None: ...
    def __eq__(self, other: object, /) -> bool: ...

def choice(choices: Sequence[_Label], *, active_if: _ActiveIf | None = None) -> Decision:
    """A decision that takes one of `choices`, with no order between them."""

def integer(low: int, high: int, *, step: int = 1, active_if: _ActiveIf | None = None) -> Decision:
    """A decision that takes a whole number from `low` to `high`, both included."""

def real(low: float, high: float, *, log: bool = False, active_if: _ActiveIf | None = None) -> Decision:
    """A decision that takes a real number from `low` to `high`."""

def subset(labels: Sequence[_Label], *, take: int, active_if: _ActiveIf | None = None) -> Decision:
    """A decision that takes `take` different ones of `labels`; its value is a tuple."""

@final
class SearchSpace:
    """The set of points that a search chooses from. Immutable."""

    def __new__(cls, decisions: Mapping[str, Decision]) -> SearchSpace: ...
    @property
    def size(self) -> int | None: ...
    @property
    def decisions(self) -> list[Decision]: ...
    @property
    def fingerprint(self) -> str: ...
    def sample(self, seed: int = 0) -> Point: ...
    def samples(self, n: int, seed: int = 0, constraints: Mapping[str, _Bounds] | None = None) -> list[Point]: ...
    @property
    def metrics(self) -> list[str]: ...
    def with_cost(self, name: str, tables: _Tables, *, constant: float = 0.0) -> SearchSpace:
        """The same space with one more cost, the sum of a table entry for each active decision."""

    def cost(self, points: Any) -> dict[str, Any]:
        """The attached costs of one point (numbers), or of points or indices (arrays)."""

    def cost_terms(self, metric: str) -> list[tuple[float, list[tuple[int, list[float]]]]]: ...
    def bounds(self, metric: str) -> tuple[int | float, int | float]: ...
    def extremes(self, metric: str) -> tuple[Point, Point]: ...
    def count(self, constraints: Mapping[str, _Bounds] | None = None) -> Count: ...
    def sample_indices(self, seed: int, first: int, count: int) -> NDArray[np.int32]:
        """Codes of random points, shape (count, decisions), -1 where inactive."""

    def point(self, values: Mapping[str, Any]) -> Point: ...
    def point_at(self, codes: Sequence[int]) -> Point: ...
    def check(self, point: Mapping[str, Any]) -> None: ...
    def rank(self, point: Mapping[str, Any]) -> int: ...
    def unrank(self, rank: int) -> Point: ...
    def neighbours(self, point: Mapping[str, Any]) -> list[Point]: ...
    def encode(self, points: Point | Iterable[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Rows of numbers in [0, 1]; shape (n, columns)."""

    def indices(self, points: Point | Iterable[Mapping[str, Any]]) -> NDArray[np.int32]:
        """Codes, shape (n, decisions), -1 where inactive."""

    def to_json(self) -> str: ...
    @staticmethod
    def from_json(json: str, costs: str | None = None) -> SearchSpace: ...
    def __or__(self, other: SearchSpace, /) -> SearchSpace: ...
    def __ror__(self, other: SearchSpace, /) -> SearchSpace: ...
    def __len__(self) -> int: ...
    def __contains__(self, point: object, /) -> bool: ...
    def __getitem__(self, name: str, /) -> Decision: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> SearchSpace: ...
    def __deepcopy__(self, _memo: object) -> SearchSpace: ...
    def __reduce__(self) -> tuple[Any, tuple[str, str | None]]: ...

@final
class Count:
    """How many points there are: `low <= n <= high`, proven; `value` is the best estimate."""

    @property
    def value(self) -> int: ...
    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int: ...
    @property
    def exact(self) -> bool: ...
    def __int__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def exact(
    space: SearchSpace,
    scores: _Tables,
    constraints: Mapping[str, _Bounds] | None,
    direction: str,
    sweep: str | None,
) -> list[tuple[Point, float, dict[str, Any]]]:
    """The best points within constraints: one, or all compromises with the cost `sweep`."""

@final
class Point(Mapping[str, Any]):
    """One element of a search space: a read-only, hashable mapping, registered as `collections.abc.Mapping`."""

    @property
    def space(self) -> SearchSpace: ...
    def get(self, name: str, default: Any = None) -> Any: ...
    # Lists, where a Mapping promises views.
    def keys(self) -> list[str]: ...  # type: ignore[override]
    def values(self) -> list[Any]: ...  # type: ignore[override]
    def items(self) -> list[tuple[str, Any]]: ...  # type: ignore[override]
    def to_json(self) -> str: ...
    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> Point: ...
    def __deepcopy__(self, _memo: object) -> Point: ...
    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]: ...

def algorithm_schemas() -> list[tuple[str, dict[str, Any]]]:
    """Name and JSON schema of every registered algorithm."""

def complete_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an algorithm with defaults filled in."""

@final
class Trial:
    """One trial of a study; an immutable snapshot."""

    def report(self, step: int, value: float | Mapping[str, float]) -> None:
        """Reports how the trial is doing at a step, for the pruner and for whoever looks on."""

    def should_prune(self) -> bool:
        """Whether the study's pruner would end this trial now. Then return `mn.Pruned(values)`."""

    @property
    def reports(self) -> dict[int, dict[str, float]]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def point(self) -> Point: ...
    @property
    def values(self) -> dict[str, float]: ...
    @property
    def state(self) -> Literal["complete", "pruned", "failed", "running"]: ...
    @property
    def error(self) -> str | None: ...
    @property
    def parent(self) -> int | None: ...
    @property
    def fidelity(self) -> float: ...

@final
class Context:
    """What a search algorithm written in Python may look at."""

    @property
    def space(self) -> SearchSpace: ...
    @property
    def objectives(self) -> dict[str, str]: ...
    @property
    def constraints(self) -> dict[str, _Bounds]: ...
    @property
    def seed(self) -> int: ...
    @property
    def next(self) -> int: ...
    @property
    def running(self) -> list[Trial]: ...
    def rng_seed(self, offset: int = 0) -> int:
        """A seed for the `offset`-th proposal of this `ask`: the same in every run of the study."""

@final
class Study:
    """The engine of `modularnas.Study`, which documents it."""

    def __new__(
        cls,
        space: SearchSpace,
        algorithm: Any,
        objectives: Mapping[str, str],
        constraints: Mapping[str, _Bounds] | None,
        storage: _Path | None,
        seed: int,
        pruner: Mapping[str, Any] | None,
        environment: str,
    ) -> Study: ...
    @property
    def trials(self) -> list[Trial]: ...
    @property
    def best_trial(self) -> Trial | None: ...
    @property
    def pareto_front(self) -> list[Trial]: ...
    @property
    def finished(self) -> int: ...
    @property
    def space(self) -> SearchSpace: ...
    @property
    def objectives(self) -> dict[str, str]: ...
    @property
    def constraints(self) -> dict[str, _Bounds]: ...
    @property
    def seed(self) -> int: ...
    def ask(self, count: int) -> list[Trial]: ...
    def tell(self, number: int, outcome: Any) -> Trial: ...
    def tell_and_ask(self, outcomes: Sequence[tuple[int, Any]], count: int) -> list[Trial]: ...
    def add(self, points: Sequence[Any], outcomes: Sequence[Any]) -> list[Trial]: ...
    def optimize(
        self,
        evaluator: Any,
        stop: Mapping[str, Any],
        workers: int,
        batch: int,
        deaths: int | None,
        callbacks: Sequence[Callable[[Trial], object]],
        catch: tuple[type[BaseException], ...],
        progress: Callable[[int], object] | None,
        poll: Callable[[], object] | None,
    ) -> Literal["trials", "timeout", "exhausted", "target", "plateau", "budget"]:
        """Runs the loop; returns why it ended."""

def check_pruner(settings: Mapping[str, Any]) -> None:
    """Raises StudyError for settings of a pruner that are wrong."""

def repair_study(path: _Path) -> tuple[int, int, Path]:
    """Repairs a damaged file in its place: trials kept, trials lost, where the damaged one is now."""

@final
class Benchmark:
    """A search space with known answers, and the evaluator that gives them."""

    @staticmethod
    def nasbench201(op_names: Sequence[str], ops: NDArray[np.uint8], columns: _Columns) -> Benchmark: ...
    @staticmethod
    def nasbench101(
        n: NDArray[np.uint8], edges: NDArray[np.uint32], ops: NDArray[np.uint8], columns: _Columns
    ) -> Benchmark: ...
    @staticmethod
    def nasbench101_official(path: _Path, cache: _Path | None, repeat: int | None) -> Benchmark: ...
    @staticmethod
    def nasbench_macro(arch: NDArray[np.uint8], columns: _Columns) -> Benchmark: ...
    @staticmethod
    def nasbench_graph(
        links: NDArray[np.uint8],
        op_names: Sequence[str],
        link: NDArray[np.uint8],
        ops: NDArray[np.uint8],
        columns: _Columns,
    ) -> Benchmark: ...
    @staticmethod
    def hpo_taskset(
        names: Sequence[str],
        settings: NDArray[np.float64],
        valid_loss: NDArray[np.float64],
        test_loss: NDArray[np.float64],
    ) -> Benchmark: ...
    @staticmethod
    def synthetic(name: str, dimensions: int | None = None, objectives: int | None = None) -> Benchmark: ...
    @property
    def name(self) -> str: ...
    @property
    def space(self) -> SearchSpace: ...
    @property
    def metrics(self) -> dict[str, str]: ...
    @property
    def objectives(self) -> dict[str, str]: ...
    @property
    def reported(self) -> str: ...
    @property
    def optimum(self) -> dict[str, float]: ...
    @property
    def fidelities(self) -> tuple[float, ...]: ...
    def query(self, points: Any, metrics: str | Sequence[str] | None = None, *, fidelity: float = 1.0) -> Any:
        """The metrics of one point or of many."""

    def evaluate(self, trials: Iterable[Trial]) -> list[Any]:
        """For each trial all metrics, or `Failed`."""

    def cell_key(self, point: Mapping[str, Any]) -> str:
        """The key that NAS-Bench-101 gives the cell of a point."""

def replay_curves(
    benchmark: Benchmark,
    algorithms: Sequence[tuple[str, Mapping[str, Any]]],
    trials: int,
    seeds: int,
    first_seed: int,
    distinct: bool,
) -> list[NDArray[np.float64]]:
    """The incumbents of each (name, settings): arrays (seeds, trials)."""

@final
class RewritePlan:
    """What rules open in a network."""

    @property
    def space(self) -> SearchSpace: ...
    @property
    def modules(self) -> list[dict[str, str]]: ...
    @property
    def actions(self) -> list[dict[str, Any]]: ...
    @property
    def cuts(self) -> list[dict[str, Any]]: ...
    @property
    def shared(self) -> set[tuple[str, str]]: ...
    @property
    def original(self) -> Point | None: ...
    @property
    def fixed(self) -> list[dict[str, str]]: ...
    @property
    def diagonals(self) -> list[dict[str, Any]]: ...
    def with_costs(self) -> SearchSpace:
        """The search space with the exact cost of every point."""

    def without(self, tried: dict[str, str]) -> RewritePlan:
        """The plan of the same network and rules without some decisions, given by name with the reason."""

    def grow(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of the supernet that are larger than the given ones, by path."""

    def slice(self, point: Mapping[str, Any], weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a point's network that are cut from the supernet's, by path; views."""

    def sort(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the supernet, by path, with the channels of every opened width sorted by importance."""

    def __copy__(self) -> RewritePlan: ...
    def __deepcopy__(self, _memo: object) -> RewritePlan: ...
    def __reduce__(self) -> tuple[Any, tuple[Any, Any, dict[str, str]]]: ...

def duplicate_module(
    module: Module,
    memo: dict[int, Any],
    classes: dict[type[Module], Any],
    classify: Callable[[type[Module]], tuple[frozenset[str], frozenset[str], bool] | None],
    unusual: Callable[[Any, dict[int, Any]], Any],
    tensor: Callable[[Tensor | None, dict[int, Any]], Tensor | None],
) -> Module:
    """A copy of a module, as `modularnas.transform.duplicate` describes it."""

def reach_modules(model: Module, held: dict[int, list[Module]]) -> tuple[list[Module], dict[int, Tensor]]:
    """The modules that a network is made of, each before those that it holds, and their tensors by id."""

def copy_tensors(
    tensors: dict[int, Tensor], parts: dict[int, Tensor], share: bool, unusual: Callable[[Tensor, Tensor, bool], Tensor]
) -> dict[int, Tensor]:
    """What a network has of tensors, by their id."""

def plan_rewrite(
    network: Mapping[str, Any], rules: Sequence[Mapping[str, Any]], tried: dict[str, str] | None = None
) -> RewritePlan:
    """Plans a rewrite: network and rules are plain records; `tried` has decisions that must stay closed, and why."""

def network_widths(network: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The widths of a network: `layers` that make it, `size`, `unit` that it varies by, `fixed` (why it cannot)."""

def widen_channels(
    network: Mapping[str, Any],
    layers: list[tuple[str, int | None]] | None,
    ratio: float,
    weights: dict[str, Tensor],
    noise: float,
    seed: int,
) -> dict[str, Tensor]:
    """The tensors with which layers make as many positions as given, or the ratio, and the function stays."""

def sort_channels(network: Mapping[str, Any], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with the channels of every width sorted by importance."""

def identity_layer(size: Sequence[int], mean: Tensor, variance: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """An identity kernel, and scale and shift with which a batch norm of these statistics computes the identity."""

def inherit_weights(
    parent: dict[str, Tensor], child: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[tuple[str, str, float]]]:
    """What a child inherits, and for each tensor (child's path, parent's path, part)."""

def average_weights(states: Sequence[dict[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """The weighted average of checkpoints."""

def write_safetensors(path: _Path, tensors: Sequence[tuple[str, str, Sequence[int], bytes]]) -> None:
    """Writes tensors, given as (name, safetensors dtype, shape, bytes), to a safetensors file."""

def pareto_front(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the rows that no other row dominates, ascending."""

def pareto_ranks(losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rank of every row in non-dominated sorting, from 0."""

def pareto_hypervolume(losses: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """The volume that the rows dominate up to the reference."""

def rank_statistics(
    scores: NDArray[np.float64],
    reference: NDArray[np.float64],
    top: int,
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[list[float], list[tuple[float, float]]]:
    """Kendall, Spearman and regret of the top: the values, and the (low, high) of each."""

@final
class Surrogate:
    """What a surrogate has learnt."""

    def predict(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation for each row."""

def fit_surrogate(
    kind: str,
    rows: NDArray[np.float64],
    columns: Sequence[tuple[int, int, bool]],
    targets: NDArray[np.float64],
    by_rank: bool,
    seed: int,
) -> Surrogate:
    """Fits a surrogate to rows; columns (start, stop, numeric) belong to one decision."""

def encoded_columns(space: SearchSpace) -> list[tuple[int, int, bool]]:
    """The columns of `space.encode` as (start, stop, numeric), one a decision."""

def edge_forward(
    x: Tensor,
    weights: Tensor,
    parameters: Sequence[Tensor],
    running: Sequence[Tensor],
    program: str,
    keep: bool,
    threads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted sum of a mixed op; what the backward pass needs; means and variances of every norm."""

def edge_backward(
    gradient: Tensor,
    x: Tensor,
    weights: Tensor,
    parameters: Sequence[Tensor],
    saved: Tensor,
    statistics: Tensor,
    program: str,
    needed: Sequence[bool],
    threads: int,
) -> list[Tensor]:
    """The gradients of the input, the weights and the parameters; empty ones where not needed."""

def merge_forward(
    factors: Tensor,
    kernels: Sequence[Tensor],
    extent: Sequence[int],
    steps: Sequence[int],
    taps_first: bool,
    out: Tensor,
    threads: int,
) -> None:
    """Writes kernels of convolutions times their factors, added up in an extent."""

def merge_backward(
    gradient: Tensor,
    factors: Tensor,
    kernels: Sequence[Tensor],
    extent: Sequence[int],
    steps: Sequence[int],
    taps_first: bool,
    of_factors: Tensor | None,
    of_kernels: Sequence[Tensor | None],
    threads: int,
) -> None:
    """Writes the gradients of the factors and the kernels, those that are given, of a gradient of the sum."""

def empty_tensor(size: Sequence[int], like: Tensor) -> Tensor:
    """A contiguous tensor of a size on the CPU, of the kind of another; in huge pages where it is large."""
