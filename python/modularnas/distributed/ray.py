"""Evaluation on a Ray cluster: an evaluator around an evaluator.

Actors hold the evaluator, with its supernet: it goes through the object store once to every machine and from there to
the actors. Each actor evaluates one trial at a time, and gets the next as soon as it is free, so nobody waits for the
slowest. The driver, where the study is, only submits and collects; what comes back together is told in one transaction.
Actors may come and go: one that dies is replaced, its trial tried again, and with `num_workers=None` there are as many
as the cluster has room for at the time.

Reports of running trials go through one small actor, the desk, to the driver, where the study and its pruner are.

Ray: Moritz et al. 2018, "Ray: A Distributed Framework for Emerging AI Applications", OSDI, arXiv 1712.05889.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from modularnas import _core
from modularnas.errors import EvaluationError, MissingExtraError
from modularnas.outcome import Failed
from modularnas.study.faults import Faults
from modularnas.study.worker import RemoteTrial, evaluate, load, portable

__all__ = ["Ray"]

#: How often the size of the cluster is looked at, where it says how many workers there are.
RESIZED_EVERY_S = 5.0
#: After so long without any worker a user is told, for there may be no room for one.
PATIENCE_S = 300.0


class Ray:
    """Evaluates trials in the actors of a Ray cluster.

    Without a running cluster (`ray.init(...)` before, or the variable RAY_ADDRESS) one is started on this machine.

    Args:
        evaluator: an evaluator, a function of a point, or the path of one (`"package.module:name"`); it must be
        picklable
            by Ray unless it is a path. A `supernet` attribute is moved to the GPU where there are `num_gpus`.
        num_workers: how many actors; None: as many as the cluster has room for, now and later.
        num_cpus: cores of each, also for torch. Fractions share one.
        num_gpus: GPUs of each. Fractions share one.

    Raises:
        EvaluationError: for numbers that make no sense.
        MissingExtraError: without Ray, when a study begins to use it.

    Example:
        >>> study.optimize(mn.distributed.Ray(evaluator, num_workers=8, num_gpus=1), trials=200)  # doctest: +SKIP
    """

    def __init__(
        self, evaluator: Any, num_workers: int | None = None, num_cpus: float = 1, num_gpus: float = 0
    ) -> None:
        if num_workers is not None and num_workers < 1:
            raise EvaluationError(
                f"num_workers is {num_workers}; expected 1 or more, or None for what the cluster holds"
            )
        if num_cpus < 0 or num_gpus < 0 or num_cpus + num_gpus == 0:
            raise EvaluationError(f"num_cpus is {num_cpus} and num_gpus {num_gpus}; expected 0 or more, not both 0")
        self.evaluator = evaluator
        self.num_workers = num_workers
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus

    @contextmanager
    def at_work(self, faults: Faults, space: _core.SearchSpace) -> Iterator[_Crew]:
        """The actors, for one run of a study; `study.optimize` calls this."""
        crew = _Crew(self, _ray(), faults, space)
        try:
            yield crew
        finally:
            crew.dismiss()


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtraError('mn.distributed.Ray needs Ray: pip install "modularnas[ray]"') from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=True)
    return ray


class _Actor:
    """One worker: evaluates a trial at a time."""

    def __init__(self, evaluator: Any, space: str, num_cpus: float, num_gpus: float, desk: Any) -> None:
        import torch

        torch.set_num_threads(max(1, int(num_cpus)))
        self.space = _core.SearchSpace.from_json(space)
        self.evaluator = load(evaluator) if isinstance(evaluator, str) else evaluator
        if num_gpus > 0 and isinstance(getattr(self.evaluator, "supernet", None), torch.nn.Module):
            self.evaluator.supernet.to("cuda")
        self.desk = desk

    def ready(self) -> None:
        """Returns when the actor is there."""

    def evaluate(self, record: Sequence[Any]) -> tuple[Any, ...]:
        """The outcome, or what the evaluator raised."""
        import ray

        def ask(verb: str, *values: Any) -> Any:
            answer = ray.get(self.desk.ask.remote(record[0], verb, values))
            if isinstance(answer, BaseException):
                raise answer
            return answer

        try:
            return ("done", evaluate(self.evaluator, RemoteTrial(self.space, record, ask)))
        except Exception as error:
            return ("raised", *portable(error))


class _Desk:
    """Takes questions from actors to the driver and answers back; each waits without a thread."""

    def __init__(self) -> None:
        import asyncio

        self.asked: deque[tuple[int, int, str, Sequence[Any]]] = deque()
        self.waiting: dict[int, Any] = {}
        self.count = 0
        self.news = asyncio.Event()

    async def ask(self, number: int, verb: str, values: Sequence[Any]) -> Any:
        """What the driver answers."""
        import asyncio

        self.count += 1
        self.waiting[self.count] = answer = asyncio.get_running_loop().create_future()
        self.asked.append((self.count, number, verb, values))
        self.news.set()
        return await answer

    async def questions(self) -> list[tuple[int, int, str, Sequence[Any]]]:
        """What was asked since the last call; waits until something was."""
        while not self.asked:
            self.news.clear()
            await self.news.wait()
        questions = list(self.asked)
        self.asked.clear()
        return questions

    async def answer(self, answers: Sequence[tuple[int, Any]]) -> None:
        """Gives the answers to those who wait."""
        for ticket, answer in answers:
            waiting = self.waiting.pop(ticket, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)


class _Crew:
    """The actors of one run, and which trial each of them holds."""

    def __init__(self, plan: Ray, ray: Any, faults: Faults, space: _core.SearchSpace) -> None:
        self.plan = plan
        self.ray = ray
        self.faults = faults
        self.evaluator = ray.put(plan.evaluator)
        self.space = ray.put(space.to_json())
        self.desk = ray.remote(_Desk).options(num_cpus=0).remote()
        self.questions = self.desk.questions.remote()
        self.maker = ray.remote(_Actor).options(num_cpus=plan.num_cpus, num_gpus=plan.num_gpus)
        #: By the reference that resolves when they are there.
        self.coming: dict[Any, Any] = {}
        self.free: list[Any] = []
        #: Actor and trial by the reference to the outcome.
        self.busy: dict[Any, tuple[Any, _core.Trial]] = {}
        self.deadlines: dict[Any, float] = {}
        self.waiting: deque[_core.Trial] = deque()
        self.resized_s = -math.inf
        self.alone_since_s = time.monotonic()

    def capacity(self) -> int:
        """How many trials the actors that are there hold at once."""
        if time.monotonic() - self.resized_s >= RESIZED_EVERY_S:
            self.resized_s = time.monotonic()
            self._recruit()
        there = len(self.free) + len(self.busy)
        if there:
            self.alone_since_s = time.monotonic()
        elif time.monotonic() - self.alone_since_s > PATIENCE_S:
            self.alone_since_s = math.inf
            plan, room = self.plan, self.ray.available_resources()
            warnings.warn(
                f"no worker has started for {PATIENCE_S:.0f} s: each needs {plan.num_cpus:g} CPU and {plan.num_gpus:g} "
                f"GPU, the cluster has {room.get('CPU', 0):g} and {room.get('GPU', 0):g} free; `ray status` says "
                "what they wait for",
                stacklevel=2,
            )
        return there

    def _recruit(self) -> None:
        """Asks for as many actors as there should be; those that the cluster has no room for come later."""
        wanted = self.plan.num_workers
        if wanted is None:
            room = self.ray.cluster_resources()
            needs = [("CPU", self.plan.num_cpus), ("GPU", self.plan.num_gpus)]
            wanted = max(1, min(int(room.get(kind, 0) / need) for kind, need in needs if need))
        for _ in range(wanted - len(self.coming) - len(self.free) - len(self.busy)):
            actor = self.maker.remote(self.evaluator, self.space, self.plan.num_cpus, self.plan.num_gpus, self.desk)
            self.coming[actor.ready.remote()] = actor

    def submit(self, trials: Sequence[_core.Trial]) -> None:
        """Hands trials to free actors."""
        self.waiting.extend(trials)
        while self.waiting and self.free:
            actor, trial = self.free.pop(), self.waiting.popleft()
            outcome = actor.evaluate.remote(RemoteTrial.record(trial))
            self.busy[outcome] = actor, trial
            if self.faults.trial_timeout_s is not None:
                self.deadlines[outcome] = time.monotonic() + self.faults.trial_timeout_s

    def collect(self, seconds: float) -> list[tuple[int, Any]]:
        """Number and outcome of what has come back; waits up to `seconds` if nothing has."""
        until = time.monotonic() + seconds
        outcomes: list[tuple[int, Any]] = []
        while not outcomes:
            references = [*self.busy, *self.coming, self.questions]
            patience = max(0.0, min([until, *self.deadlines.values()]) - time.monotonic())
            ready, _ = self.ray.wait(references, num_returns=1, timeout=patience)
            if ready:  # and whatever else is there by now
                ready, _ = self.ray.wait(references, num_returns=len(references), timeout=0)
            there = False
            for reference in ready:
                if reference in self.busy:
                    outcomes += self._take(reference)
                elif reference in self.coming:
                    there |= self._welcome(reference)
                else:
                    self._answer()
            for reference in [one for one, deadline in self.deadlines.items() if time.monotonic() >= deadline]:
                outcomes += self._lose(reference, self.faults.too_late(), worker_died=False)
            self.submit([])
            if there or time.monotonic() >= until:
                break
        return outcomes

    def _take(self, reference: Any) -> list[tuple[int, Any]]:
        try:
            verb, *values = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            reason = f"its worker died: {type(error).__name__}: {' '.join(str(error).split())}"
            return self._lose(reference, Failed(reason), worker_died=True)
        self.deadlines.pop(reference, None)
        actor, trial = self.busy.pop(reference)
        self.free.append(actor)
        if verb == "done":
            self.faults.forget(trial.number)
            return [(trial.number, values[0])]
        return self._settle(trial, self.faults.failure(*values), worker_died=False)

    def _lose(self, reference: Any, reason: Failed, *, worker_died: bool) -> list[tuple[int, Any]]:
        self.deadlines.pop(reference, None)
        actor, trial = self.busy.pop(reference)
        self.ray.kill(actor)
        self._recruit()
        return self._settle(trial, reason, worker_died=worker_died)

    def _settle(self, trial: _core.Trial, reason: Failed, *, worker_died: bool) -> list[tuple[int, Any]]:
        if self.faults.try_again(trial.number, worker_died=worker_died):
            self.waiting.appendleft(trial)
            return []
        self.faults.forget(trial.number)
        return [(trial.number, reason)]

    def _welcome(self, reference: Any) -> bool:
        actor = self.coming.pop(reference)
        try:
            self.ray.get(reference)
        except self.ray.exceptions.RayActorError as error:
            if "init" in str(error).lower() and error.__cause__ is None and "creation task" in str(error):
                raise EvaluationError(f"a worker cannot make the evaluator: {error}") from error
            self._recruit()
            return False
        self.free.append(actor)
        return True

    def _answer(self) -> None:
        """Answers the questions of trials that still run; others were taken from their actors."""
        running = {trial.number: trial for _, trial in self.busy.values()}
        answers = []
        for ticket, number, verb, values in self.ray.get(self.questions):
            try:
                answers.append((ticket, getattr(running[number], verb)(*values)))
            except Exception as error:
                answers.append((ticket, portable(error)[0]))
        self.desk.answer.remote(answers)
        self.questions = self.desk.questions.remote()

    def dismiss(self) -> None:
        """Ends the actors, whatever they are at."""
        if not self.ray.is_initialized():
            return
        for actor in [*self.coming.values(), *self.free, *(actor for actor, _ in self.busy.values()), self.desk]:
            self.ray.kill(actor)
