"""Tuning a Python function: its arguments are decisions, what it returns is the metric."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modularnas import _core
from modularnas.errors import SpaceError
from modularnas.study import Study

__all__ = ["Tunable", "tune"]


def tune(*spaces: _core.SearchSpace, **decisions: _core.Decision) -> Callable[[Callable[..., Any]], Tunable]:
    """Makes a function tunable: `f.search(trials=...)` finds the arguments for which it returns the most.

    Args:
        spaces: search spaces of architectures, such as `supernet.space`, to be searched together with the arguments:
            the function gets the point of each as a positional argument.
        decisions: argument name to `mn.choice`, `mn.integer` or `mn.real`. One that is inactive is not given.

    Raises:
        SpaceError: if the function has no such argument.

    Example:
        >>> @mn.tune(lr=mn.real(1e-3, 1.0, log=True), depth=mn.integer(1, 4))
        ... def score(lr, depth):
        ...     return -abs(lr - 0.1) - abs(depth - 2)
        >>> study = score.search(trials=40, algorithm="tpe", seed=0, progress=False)
        >>> study.best_trial.point["depth"]
        2
        >>> score(lr=0.1, depth=4)
        -2.0
    """

    def decorate(function: Callable[..., Any]) -> Tunable:
        return Tunable(function, spaces, decisions)

    return decorate


class Tunable:
    """A function with a space of arguments; called, it is the function.

    Attributes:
        space: all decisions.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        spaces: Sequence[_core.SearchSpace],
        decisions: Mapping[str, _core.Decision],
    ) -> None:
        if not spaces and not decisions:
            raise SpaceError(
                "mn.tune is given nothing to tune; name arguments, such as lr=mn.real(1e-4, 1e-1, log=True)"
            )
        parameters = inspect.signature(function).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name in decisions:
            if name not in parameters and not takes_all:
                known = ", ".join(parameters)
                raise SpaceError(f"mn.tune names '{name}', and {function.__name__}({known}) has no such argument")
        self.function = function
        self.spaces = tuple(spaces)
        space = _core.SearchSpace(decisions) if decisions else None
        for part in reversed(self.spaces):
            space = part if space is None else part | space
        assert space is not None
        self.space = space
        self.decisions = tuple(decisions)
        self.takes_trial = "trial" in parameters and "trial" not in decisions
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns."""
        return self.function(*args, **kwargs)

    def search(
        self,
        trials: int,
        *,
        algorithm: Any = "tpe",
        objectives: Mapping[str, str] | None = None,
        storage: str | os.PathLike[str] | None = None,
        seed: int = 0,
        arguments: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Study:
        """Searches for the best arguments; returns the study.

        A function with an argument `trial` gets the trial, to report intermediate values and ask whether to stop.

        Args:
            trials: how many evaluations in all, those of a stored study included.
            algorithm: a name, or one of `mn.search`.
            objectives: metric to `"max"` or `"min"`, for a function that returns a dict; None: what it returns is
                `value`, and maximised.
            storage: a file that the study goes on in.
            seed: of everything random in the study.
            arguments: further arguments of the function, the same in every trial.
            settings: further arguments of `mn.Study`, such as `constraints=` and `pruner=`.
            options: further arguments of `study.optimize`, such as `workers=`, `timeout_s=` and `progress=`.
        """
        study = Study(
            self.space, algorithm, dict(objectives or {"value": "max"}), storage=storage, seed=seed, **(settings or {})
        )
        study.optimize(_Calls(self, dict(arguments or {})), trials, **options)
        return study

    def __repr__(self) -> str:
        return f"<Tunable {getattr(self.function, '__name__', self.function)}: {self.space}>"


class _Calls:
    """Evaluates trials by calling the function."""

    def __init__(self, tunable: Tunable, arguments: dict[str, Any]) -> None:
        self.tunable = tunable
        self.arguments = arguments

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        return [self._call(trial) for trial in trials]

    def _call(self, trial: Any) -> Any:
        tunable, point = self.tunable, dict(trial.point)
        points = [
            space.point({d.name: point[d.name] for d in space.decisions if d.name in point}) for space in tunable.spaces
        ]
        named = {name: point[name] for name in tunable.decisions if name in point}
        extra = {"trial": trial} if tunable.takes_trial else {}
        return tunable.function(*points, **named, **self.arguments, **extra)
