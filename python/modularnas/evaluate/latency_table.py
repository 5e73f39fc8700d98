"""A latency table: what every candidate of a space will take, from the latencies of its parts.

One table entry is one layer at one setting, timed in a network on the user's machine; a network is the sum of its
layers (Cai et al. 2018, ProxylessNAS, arXiv 1812.00332, section 3.3; Cai et al. 2019, Once-for-All, arXiv 1908.09791,
section 3.4). Sums of parts are off by what happens between layers, so some whole networks are measured too: a line
corrects the sum and the number of layers, and a Gaussian process on the logarithm of what is left corrects the rest
and gives the error bar.

Which decisions a layer depends on is found out, not assumed: each decision is changed alone at a few points, and a
layer depends on those that change its shapes. Layers that depend on the same decisions share a table. Settings that
no network had take the mean of the entries with most decisions in common.

Where only latencies of whole networks are known (a published table, another device), the table is per choice: a ridge
regression on the one-hot encoding of the latency or its logarithm, whichever predicts left-out networks better,
corrected in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from modularnas import _core
from modularnas.errors import EvaluationError
from modularnas.evaluate.candidate import Source, network_of
from modularnas.evaluate.latency import CLOCKS, Clock, measure_latency, threads

__all__ = ["LatencyTable"]

_Floats = NDArray[np.float64]
_FORMAT = 1
#: The attribute by which a layer of a derived network says which one of the supernet's it is.
_TAG = "_latency_layer"
_RIDGE = 1e-3
_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
#: Over how many decisions entries stay alike.
_REACH = 3.0
_ROUNDS = 8
_ROUNDS_OF_TIMING = 9
_LEAST_MS = 1e-6
_OUTLIER = 4.0


class LatencyTable:
    """Predicts the latency of every point of a space; made by `measure`, `fit` or `from_json`.

    An evaluator of `latency_ms` and `latency_ms_std`, the error bar.

    Attributes:
        space: the space.
        device: the device that it speaks of.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        >>> x = torch.randn(1, 3, 8, 8)
        >>> supernet = mn.rewrite(net, [mn.rules.kernel_size(3, 5), mn.rules.width(0.5, 1.0)], example=x)
        >>> table = mn.evaluate.LatencyTable.measure(supernet, x, repeats=3, n_networks=8)
        >>> table.predict(supernet.space.sample(seed=0)) > 0
        True
        >>> mean, std = table.predict(supernet.space.samples(5, seed=0), std=True)
        >>> mean.shape, std.shape
        ((5,), (5,))
    """

    def __init__(
        self,
        space: _core.SearchSpace,
        tables: Sequence[tuple[Sequence[int], Mapping[tuple[int, ...], tuple[float, int]]]],
        indices: NDArray[np.int32],
        latencies_ms: _Floats,
        device: str,
    ) -> None:
        self.space = space
        self.device = device
        self._tables = [(list(decisions), dict(entries)) for decisions, entries in tables]
        self._indices = np.ascontiguousarray(indices, np.int32)
        self._latencies_ms = np.ascontiguousarray(latencies_ms, np.float64)
        points = [space.point_at(row) for row in self._indices.tolist()]
        if self._tables:
            self._base: Callable[[Sequence[Any]], _Floats] = self._corrected_sum(points)
        else:
            self._base = self._per_choice(points)
        left = np.log(self._latencies_ms / self._base(points))
        middle = np.median(left)
        limit = _OUTLIER * 1.4826 * np.median(np.abs(left - middle))  # a run that was disturbed teaches nothing
        left = np.clip(left, middle - limit, middle + limit)
        columns = _core.encoded_columns(space)
        self._rest = _core.fit_surrogate("gp", space.encode(points), columns, left, False, 0)

    @classmethod
    def measure(
        cls,
        source: Source,
        x: Any,
        device: str | torch.device = "cpu",
        *,
        space: _core.SearchSpace | None = None,
        repeats: int = 30,
        warmup: int = 5,
        n_threads: int | None = 1,
        clock: Clock = "wall",
        n_networks: int = 32,
        n_points: int = 64,
        seed: int = 0,
    ) -> LatencyTable:
        """Measures a table on this machine.

        Args:
            source: a supernet, or a function from a point to a network.
            x: the input, or a tuple of inputs; its batch size counts.
            device: where to run.
            space: the space; None: the supernet's.
            repeats: timed runs of each layer and network, at least; those of networks are taken in turns.
            warmup: runs before them.
            n_threads: CPU threads of torch meanwhile; None: as they are.
            clock: `"wall"` or `"cpu"`, see `measure_latency`.
            n_networks: whole networks that are measured for the correction.
            n_points: random networks that are looked through for settings of layers, besides those that find out what
                layers depend on.
            seed: the seed of the draws.

        Raises:
            EvaluationError: for wrong sources and settings.
        """
        space = space or getattr(source, "space", None)
        if space is None:
            raise EvaluationError("LatencyTable.measure is given a function; give space=, the space of its points")
        where = torch.device(device)
        build = network_of(source, "LatencyTable")
        layers = _Layers(build, x, where)
        with _tagged(source), threads(n_threads), torch.inference_mode():
            bases = list(dict.fromkeys(space.samples(3, seed=seed)))
            drawn = list(dict.fromkeys(space.samples(n_points, seed=seed + 1)))
            depends = layers.dependencies(space, bases)
            for point in drawn:
                layers.look(point)
            times = layers.times(repeats=repeats, warmup=warmup, clock=clock)
        tables: dict[tuple[int, ...], dict[tuple[int, ...], tuple[float, int]]] = {}
        for point, seen in layers.seen.items():
            codes = space.indices([point])[0].tolist()
            sums: dict[tuple[int, ...], tuple[float, int]] = {}
            for layer, decisions in depends.items():
                ms, count = sums.get(decisions, (0.0, 0))
                if layer in seen:
                    ms, count = ms + times[seen[layer]], count + 1
                sums[decisions] = (ms, count)
            for decisions, entry in sums.items():
                tables.setdefault(decisions, {})[tuple(codes[d] for d in decisions)] = entry
        share = -(-repeats // _ROUNDS_OF_TIMING)
        settings: Any = {"repeats": share, "warmup": min(warmup, 1), "n_threads": n_threads, "clock": clock}
        measured = list(dict.fromkeys(space.samples(4 * n_networks, seed=seed + 2)))[:n_networks]
        nets = [build(point) for point in measured]
        latencies = _in_turns(lambda net: measure_latency(net, x, device=device, **settings).median_ms, nets)
        return cls(space, list(tables.items()), space.indices(measured), latencies, str(where))

    @classmethod
    def fit(
        cls, space: _core.SearchSpace, points: Sequence[Any], latencies_ms: ArrayLike, device: str = "unknown"
    ) -> LatencyTable:
        """A table from latencies that are known.

        Args:
            space: the space of the points.
            points: points.
            latencies_ms: the latency of each, above 0.
            device: the device that they speak of.

        Raises:
            EvaluationError: for unlike lengths, fewer than two, or latencies that are not above 0.

        Example:
            >>> space = mn.SearchSpace({name: mn.choice([3, 5, 7]) for name in "abcd"})
            >>> points = space.samples(40, seed=0)
            >>> table = mn.evaluate.LatencyTable.fit(space, points, [1 + sum(p.values()) / 10 for p in points])
            >>> abs(table.predict({"a": 3, "b": 5, "c": 7, "d": 3}) - 2.8) < 0.05
            True
        """
        known = _checked(points, latencies_ms, "LatencyTable.fit")
        return cls(space, [], space.indices(list(points)), known, device)

    def corrected(self, points: Sequence[Any], latencies_ms: ArrayLike) -> LatencyTable:
        """The same entries, corrected by other whole networks: a machine that is slower today, or runs hotter.

        Args:
            points: points whose networks were measured.
            latencies_ms: the latency of each, above 0; of `measure_latency`, in turns if they are to be comparable.

        Raises:
            EvaluationError: as `fit`.

        Example:
            >>> space = mn.SearchSpace({"kernel": mn.choice([3, 5, 7]), "width": mn.choice([8, 16, 24])})
            >>> points = space.samples(9, seed=0)
            >>> table = mn.evaluate.LatencyTable.fit(space, points, [p["kernel"] + p["width"] for p in points])
            >>> slower = table.corrected(points, 2 * table.predict(points))
            >>> 1.9 < slower.predict(points[0]) / table.predict(points[0]) < 2.1
            True
        """
        known = _checked(points, latencies_ms, "LatencyTable.corrected")
        return LatencyTable(self.space, self._tables, self.space.indices(list(points)), known, self.device)

    def predict(self, points: Any, *, std: bool = False) -> Any:
        """The latency in milliseconds of a point (a float) or of points (an array).

        Args:
            points: a point, or a list of them.
            std: whether to give a pair with the standard deviation, the error bar.
        """
        one = isinstance(points, Mapping)
        asked = [self.space.point(points)] if one else list(points)
        mean, spread = self._rest.predict(self.space.encode(asked))
        ms = self._base(asked) * np.exp(mean)
        found: Any = (float(ms[0]), float(ms[0] * spread[0])) if one else (ms, ms * spread)
        return found if std else found[0]

    def evaluate(self, trials: Sequence[Any]) -> list[dict[str, float]]:
        """For each trial `latency_ms` and `latency_ms_std`."""
        means, stds = self.predict([trial.point for trial in trials], std=True)
        return [
            {"latency_ms": float(mean), "latency_ms_std": float(spread)}
            for mean, spread in zip(means, stds, strict=True)
        ]

    def to_json(self) -> str:
        """The table as text; `from_json` gives the same predictions to the last bit."""
        tables = [
            {"decisions": decisions, "entries": [[*codes, *entry] for codes, entry in sorted(entries.items())]}
            for decisions, entries in self._tables
        ]
        return json.dumps(
            {
                "format": _FORMAT,
                "device": self.device,
                "space": json.loads(self.space.to_json()),
                "tables": tables,
                "indices": self._indices.tolist(),
                "latencies_ms": self._latencies_ms.tolist(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> LatencyTable:
        """Reads what `to_json` wrote.

        Raises:
            EvaluationError: for another text.
        """
        try:
            read = json.loads(text)
            if read["format"] != _FORMAT:
                raise ValueError(f"format {read['format']}")
            tables = []
            for table in read["tables"]:
                n = len(table["decisions"])
                rows = {tuple(row[:n]): (row[n], row[n + 1]) for row in table["entries"]}
                tables.append((table["decisions"], rows))
            space = _core.SearchSpace.from_json(json.dumps(read["space"]))
            indices = np.array(read["indices"], np.int32)
            latencies_ms = np.array(read["latencies_ms"], np.float64)
            entries = np.array([entry for _, rows in tables for entry in rows.values()], np.float64)
            if not (np.all((latencies_ms > 1e-9) & (latencies_ms < 1e9)) and np.all(np.abs(entries) < 1e9)):
                raise ValueError("a latency that is not between 1e-9 and 1e9 ms")
            return cls(space, tables, indices, latencies_ms, read["device"])
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise EvaluationError(f"this is no latency table of LatencyTable.to_json ({error!r})") from error

    def _corrected_sum(self, points: Sequence[Any]) -> Callable[[Sequence[Any]], _Floats]:
        """A line through sums of entries and numbers of layers, by Huber's loss of relative errors."""
        design = self._sums(points)
        relative = design / self._latencies_ms[:, None]
        tiny = 1e-6 * np.square(relative).mean(0) + 1e-12
        weights, _ = _robust_ridge(relative, np.ones(len(points)), tiny)
        return lambda asked: np.maximum(self._sums(asked) @ weights, _LEAST_MS)

    def _sums(self, points: Sequence[Any]) -> _Floats:
        """For each point the sum of its entries, its number of layers, and 1: shape (n, 3)."""
        rows = np.ones((len(points), 3))
        for row, codes in zip(rows, self.space.indices(list(points)).tolist(), strict=True):
            found = [_entry(entries, tuple(codes[d] for d in decisions)) for decisions, entries in self._tables]
            row[:2] = np.sum(found, 0)
        return rows

    def _per_choice(self, points: Sequence[Any]) -> Callable[[Sequence[Any]], _Floats]:
        """Robust ridge regression of the latency or its logarithm: what predicts networks left out best."""
        x, y = self._design(points), self._latencies_ms
        free = np.zeros(x.shape[1])
        free[-self.space.encode(points[:1]).shape[1] :] = 1.0  # a choice's own part is shrunk, what it shares is not
        fits = []
        for forward, back in ((np.asarray, np.asarray), (np.log, np.exp)):
            for penalty in _PENALTIES:
                weights, left_out = _robust_ridge(x, forward(y), _RIDGE + penalty * free)
                error = np.abs(np.maximum(back(left_out), _LEAST_MS) / y - 1)
                fits.append((float(np.minimum(error, 1.0).mean()), weights, back))
        _, weights, back = min(fits, key=lambda fit: fit[0])
        least = y.min() / 10
        return lambda asked: np.maximum(back(self._design(asked) @ weights), least)

    def _design(self, points: Sequence[Any]) -> _Floats:
        """A constant, what decisions with the same choices share, and the encoding.

        The encoding is turned so that shrinking it keeps the entries of decisions with the same choices alike that
        follow one another: layers of one stage (a Gaussian process over their places with an exponential kernel).
        """
        rows = self.space.encode(list(points))
        alike: dict[Any, list[_Floats]] = {}
        for decision, (start, stop, _) in zip(self.space.decisions, _core.encoded_columns(self.space), strict=True):
            kind = (decision.kind, decision.choices, decision.low, decision.high)
            alike.setdefault(kind, []).append(rows[:, start:stop])
        shared = [np.sum(parts, 0) for parts in alike.values()]
        own = []
        for parts in alike.values():
            places = np.arange(len(parts))
            kernel = np.exp(-np.abs(places[:, None] - places) / _REACH)
            turned = np.einsum("dnc,de->nec", np.stack(parts), np.linalg.cholesky(kernel))
            own.append(turned.reshape(len(rows), -1))
        return np.concatenate([np.ones((len(rows), 1)), *shared, *own], 1)


def _checked(points: Sequence[Any], latencies_ms: ArrayLike, user: str) -> _Floats:
    known = np.asarray(latencies_ms, np.float64)
    good = int((np.isfinite(known) & (known > 0)).sum())
    if known.shape != (len(points),) or len(known) < 2 or good < len(known):
        raise EvaluationError(
            f"{user} is given {len(points)} points and latencies of shape {known.shape}, {good} of them finite and "
            "above 0; expected such a latency for each of two points or more"
        )
    return known


def _robust_ridge(x: _Floats, y: _Floats, penalty: _Floats) -> tuple[_Floats, _Floats]:
    """Ridge weights by Huber's loss (Huber 1964; iteratively reweighted), and for each row its value when left out.

    Of a row that is left out the error is its error over 1 less its leverage (Allen 1974, PRESS).
    """
    trust = np.ones(len(y))
    for _ in range(_ROUNDS):
        weighted = x * trust[:, None]
        gram = weighted.T @ x + np.diag(penalty)
        weights = np.linalg.solve(gram, weighted.T @ y)
        rest = y - x @ weights
        leverage = (weighted * np.linalg.solve(gram, x.T).T).sum(1)
        left_out = rest / np.maximum(1 - leverage, 1e-3)
        scale = 1.4826 * np.median(np.abs(left_out)) + 1e-12
        trust = np.minimum(1.0, 1.345 * scale / np.maximum(np.abs(left_out), 1e-12))
    return weights, y - left_out


def _entry(entries: Mapping[tuple[int, ...], tuple[float, int]], codes: tuple[int, ...]) -> tuple[float, float]:
    """The entry of these codes, or the mean of those with most of them in common."""
    if codes in entries:
        return entries[codes]
    common = {key: sum(a == b for a, b in zip(key, codes, strict=True)) for key in entries}
    most = max(common.values())
    near = [entries[key] for key, n in common.items() if n == most]
    return float(np.mean([ms for ms, _ in near])), float(np.mean([n for _, n in near]))


class _tagged:
    """Gives every layer of a supernet its name, which copies keep, and takes it away afterwards."""

    def __init__(self, source: Any) -> None:
        self.layers = list(source.named_modules()) if isinstance(source, nn.Module) else []

    def __enter__(self) -> None:
        for name, layer in self.layers:
            layer.__dict__[_TAG] = name

    def __exit__(self, *failure: object) -> None:
        for _, layer in self.layers:
            layer.__dict__.pop(_TAG, None)


class _Layers:
    """The layers of networks: at which settings they were seen, and how long each setting takes.

    A setting is a layer's class, its description and the shapes of its inputs.
    """

    def __init__(self, build: Callable[[Any], nn.Module], x: Any, device: torch.device) -> None:
        self.build = build
        self.device = device
        self.x = tree_map_only(Tensor, lambda tensor: tensor.to(device), x if isinstance(x, tuple) else (x,))
        self.seen: dict[Any, dict[str, str]] = {}  # by point: layer to setting

    def look(self, point: Any) -> dict[str, str]:
        """The setting of each layer of a point's network."""
        if point not in self.seen:
            self.seen[point] = found = {}
            net = self.build(point).to(self.device).eval()

            def note(name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
                tag = layer.__dict__.get(_TAG, name)
                while tag in found:  # a layer that runs again
                    tag += "'"
                shapes = [tuple(one.shape) if isinstance(one, Tensor) else one for one in inputs]
                found[tag] = f"{layer!r}{shapes}"

            for name, layer in _leaves(net):
                layer.register_forward_pre_hook(partial(note, name))
            net(*self.x)
        return self.seen[point]

    def dependencies(self, space: _core.SearchSpace, bases: Sequence[Any]) -> dict[str, tuple[int, ...]]:
        """For each layer the decisions, by number, that change its setting; found by changing each one alone."""
        depends: dict[str, set[int]] = {}
        for base in bases:
            here = self.look(base)
            codes = space.indices([base])[0].tolist()
            for other in space.neighbours(base):
                there = self.look(other)
                # What only became active or inactive follows from another decision, which did change.
                pairs = enumerate(zip(codes, space.indices([other])[0].tolist(), strict=True))
                changed = {d for d, (one, two) in pairs if one != two and min(one, two) >= 0}
                for layer in here.keys() | there.keys():
                    known = depends.setdefault(layer, set())
                    if here.get(layer) != there.get(layer):
                        known |= changed
        return {layer: tuple(sorted(decisions)) for layer, decisions in sorted(depends.items())}

    def times(self, *, repeats: int, warmup: int, clock: Clock) -> dict[str, float]:
        """The median milliseconds of every setting that was seen.

        Layers are timed where they stand: alone, a layer finds its input in the cache and its output's memory at hand.
        Few networks have all settings between them; each next one has most of those that are missing.
        """
        missing = {setting for found in self.seen.values() for setting in found.values()}
        samples: dict[str, list[float]] = {setting: [] for setting in sorted(missing)}
        while missing:
            point = max(self.seen, key=lambda one: len(missing.intersection(self.seen[one].values())))
            missing -= set(self.seen[point].values())
            self._time(point, samples, repeats=repeats, warmup=warmup, clock=clock)
        return {setting: float(np.median(found)) for setting, found in samples.items()}

    def _time(self, point: Any, samples: dict[str, list[float]], *, repeats: int, warmup: int, clock: Clock) -> None:
        """Adds what each layer of a point's network takes, in milliseconds."""
        net = self.build(point).to(self.device).eval()
        settings = list(self.seen[point].values())  # in the order of the calls
        starts: list[float] = []
        laps: list[float] = []

        def now() -> float:
            if self.device.type != "cpu":
                torch.accelerator.synchronize(self.device)
            return CLOCKS[clock]()

        def start(layer: nn.Module, inputs: Any) -> None:
            starts.append(now())

        def stop(layer: nn.Module, inputs: Any, output: Any) -> None:
            laps.append(now() - starts.pop())

        for _, layer in _leaves(net):
            layer.register_forward_pre_hook(start)
            layer.register_forward_hook(stop)
        for lap in range(warmup + repeats):
            laps.clear()
            net(*self.x)
            if lap >= warmup:
                for setting, seconds in zip(settings, laps, strict=True):
                    samples[setting].append(seconds * 1e3)


def _leaves(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers without layers inside, but for identities, which stand where a block was left out."""
    layers = net.named_modules()
    return [
        (name, layer) for name, layer in layers if not list(layer.children()) and not isinstance(layer, nn.Identity)
    ]


def _in_turns(measure: Callable[[Any], float], things: Sequence[Any]) -> _Floats:
    """Measures things in turns, round after round, and keeps the median of each: a slow minute harms no thing alone."""
    rounds = np.array([[measure(thing) for thing in things] for _ in range(_ROUNDS_OF_TIMING)])
    return np.asarray(np.median(rounds, 0))
