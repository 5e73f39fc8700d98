"""What runs where a trial is evaluated elsewhere: in a worker process, in an actor of a cluster.

A worker process is a plain `python -c`, so it imports neither the user's `__main__` nor anything else of the parent: it
is told what to import by a path. It talks to its parent over one pipe; both are the same user's, and the parent started
it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from modularnas import _core
from modularnas.errors import EvaluationError

__all__ = ["RemoteTrial", "evaluate", "load", "main", "portable"]

Ask = Callable[..., Any]


class RemoteTrial:
    """A running trial where it is evaluated: what `mn.Trial` has, and reports go to the study through `ask`."""

    state = "running"
    error = None

    def __init__(self, space: _core.SearchSpace, record: Sequence[Any], ask: Ask) -> None:
        self.number, point, self.fidelity, self.parent = record
        self.point = space.point(json.loads(point))
        self.values: dict[str, float] = {}
        self._ask = ask

    @staticmethod
    def record(trial: _core.Trial) -> tuple[int, str, float, int | None]:
        """What the constructor makes a trial of, without its space."""
        return trial.number, trial.point.to_json(), trial.fidelity, trial.parent

    def report(self, step: int, value: Any) -> None:
        """As `mn.Trial.report`."""
        self._ask("report", step, value)

    def should_prune(self) -> bool:
        """As `mn.Trial.should_prune`."""
        return bool(self._ask("should_prune"))


def load(path: str) -> Any:
    """The evaluator of a path, `"package.module:name"` or `"file.py:name"`.

    The name is that of a function of a point, of an object with `evaluate(trials)`, or of a class or function without
    required arguments that makes one.
    """
    place, _, name = path.rpartition(":")
    if not place or not name:
        raise EvaluationError(f"'{path}' is no path of an evaluator; expected 'package.module:name' or 'file.py:name'")
    found: Any = _import(place)
    for part in name.split("."):
        if not hasattr(found, part):
            raise EvaluationError(f"'{place}' has no '{name}'; expected a function of a point, or an evaluator")
        found = getattr(found, part)
    return found() if _is_maker(found) else found


def _import(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    file = Path(place).resolve()
    if not file.is_file():
        raise EvaluationError(f"there is no file '{place}'; expected the file that the evaluator is in")
    name = f"_modularnas_worker_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise EvaluationError(f"'{place}' cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    spec.loader.exec_module(module)
    return module


def _is_maker(found: Any) -> bool:
    if isinstance(found, type):
        return True
    if not inspect.isfunction(found):
        return False
    parameters = inspect.signature(found).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(one.default is not one.empty or one.kind in kinds for one in parameters)


def evaluate(evaluator: Any, trial: RemoteTrial) -> Any:
    """The outcome of one trial, by an evaluator or a function of a point."""
    if hasattr(evaluator, "evaluate"):
        return next(iter(evaluator.evaluate([trial])))
    return evaluator(trial.point)


def portable(error: BaseException) -> tuple[BaseException, str]:
    """An exception that can be pickled, and its traceback."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        again = pickle.loads(pickle.dumps(error))
        if type(again) is type(error):
            return again, text
    except Exception:  # anything may go wrong in the pickling of a stranger's class
        pass
    return RuntimeError(f"{type(error).__name__}: {error}"), text


def main(descriptor: int) -> None:
    """What a worker process does: sets itself up as told, then evaluates what it is sent until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    pipe = Connection(descriptor)
    try:
        setup = pipe.recv()
        sys.path[:] = setup["sys_path"]
        import torch

        torch.set_num_threads(setup["n_threads"])
        space = _core.SearchSpace.from_json(setup["space"])
        kind, what = setup["evaluator"]
        evaluator = load(what) if kind == "path" else pickle.loads(what)
    except EOFError:
        return
    except BaseException as error:
        pipe.send(("broken", *portable(error)))
        return

    pipe.send(("ready",))

    def ask(verb: str, *values: Any) -> Any:
        pipe.send((verb, *values))
        answer = pipe.recv()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    while True:
        try:
            record = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[Any, ...] = ("done", evaluate(evaluator, RemoteTrial(space, record, ask)))
        except Exception as error:
            answer = ("raised", *portable(error))
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return
        except Exception as error:  # an outcome that cannot be pickled
            pipe.send(("raised", *portable(error)))
