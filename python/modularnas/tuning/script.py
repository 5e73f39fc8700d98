"""Tuning a script that nobody edits: a trial is a run of it with arguments, the metric is the last it prints."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modularnas.errors import EvaluationError
from modularnas.outcome import Failed, Pruned

__all__ = ["Script"]


class Script:
    """Runs a script for each trial, as `python script.py --lr 0.01 … arguments`.

    Its metrics are in the last line of its output that is a JSON object with all of `metrics`, such as
    `{"accuracy": 0.93}`; what it printed is kept in a file for each trial. A line with `"step"` is an intermediate
    result: it is reported to the trial, and a script whose trial is to be pruned is ended. A script that ends with an
    error, or prints no such line, is a failed trial.

    Args:
        script: a Python file, or any command.
        metrics: the names to look for.
        arguments: further arguments, the same in every trial.
        folder: for the outputs, `0.log`, `1.log`, …; None: they are not kept.
        template: how an argument is written; `"{name}={value}"` suits scripts configured by Hydra.
        timeout_s: a run that takes longer is a failed trial.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("train.py").write_text("import json, sys; print(json.dumps({'score': 2 * float(sys.argv[2])}))")
        >>> study = mn.Study(mn.SearchSpace({"lr": mn.real(0, 1)}), mn.search.Random(), objectives={"score": "max"})
        >>> study.optimize(mn.tuning.Script("train.py", ["score"]), trials=2, progress=False)
        >>> study.best_trial.values["score"] == 2 * study.best_trial.point["lr"]
        True
    """

    def __init__(
        self,
        script: str | Path,
        metrics: Sequence[str],
        *,
        arguments: Sequence[str] = (),
        folder: str | Path | None = None,
        template: str = "--{name} {value}",
        timeout_s: float | None = None,
    ) -> None:
        path = Path(script)
        if path.suffix == ".py" and not path.is_file():
            raise EvaluationError(f"there is no script '{script}'")
        if "{value}" not in template:
            raise EvaluationError(f"template is '{template}'; expected text with {{name}} and {{value}}")
        self.command = [sys.executable, str(path)] if path.suffix == ".py" else shlex.split(str(script))
        self.metrics = list(metrics)
        self.arguments = list(arguments)
        self.folder = Path(folder) if folder is not None else None
        self.template = template
        self.timeout_s = timeout_s

    def evaluate(self, trials: Sequence[Any]) -> list[Any]:
        """The outcome of each trial, one after another."""
        return [self._run(trial) for trial in trials]

    def _arguments(self, point: Mapping[str, Any]) -> list[str]:
        return [
            part.format(name=name, value=value) for name, value in point.items() for part in self.template.split(" ")
        ]

    def _run(self, trial: Any) -> Any:
        command = [*self.command, *self._arguments(trial.point), *self.arguments]
        lines: list[str] = []
        found: dict[str, float] = {}
        pruned = False
        late = threading.Event()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None

            def stop() -> None:
                late.set()
                process.kill()

            clock = threading.Timer(self.timeout_s, stop) if self.timeout_s is not None else None
            if clock is not None:
                clock.start()
            try:
                for line in process.stdout:
                    lines.append(line)
                    metrics = _metrics(line)
                    if all(isinstance(metrics.get(name), (int, float)) for name in self.metrics):
                        found = {name: v for name, v in metrics.items() if isinstance(v, (int, float))}
                    if "step" in metrics and self.metrics[0] in metrics and hasattr(trial, "report"):
                        trial.report(int(metrics["step"]), float(metrics[self.metrics[0]]))
                        if trial.should_prune():
                            pruned = True
                            process.terminate()
                            break
            finally:
                if clock is not None:
                    clock.cancel()
                if process.poll() is None and sys.exc_info()[0] is not None:
                    process.terminate()
        found.pop("step", None)
        self._keep(trial.number, command, lines)
        last = lines[-1].strip() if lines else "it printed nothing"
        if pruned:
            return Pruned(found)
        if late.is_set():
            return Failed(f"took longer than {self.timeout_s:g} s")
        if process.returncode != 0:
            return Failed(f"ended with {process.returncode}: {last}")
        if not found:
            names = ", ".join(self.metrics)
            return Failed(
                f'printed no line of JSON with {names}, such as {{"{self.metrics[0]}": 0.9}}; its last: {last}'
            )
        return found

    def _keep(self, number: int, command: list[str], lines: list[str]) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = f"$ {shlex.join(command)}\n{''.join(lines)}"
            (self.folder / f"{number}.log").write_text(text, encoding="utf-8")


def _metrics(line: str) -> dict[str, Any]:
    line = line.strip()
    if not line.startswith("{"):
        return {}
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
