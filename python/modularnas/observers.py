"""Observers: callbacks that write a study's trials where other tools show them.

Each is called with every finished trial: `study.optimize(..., callbacks=[mn.observers.TensorBoard("runs/a")])`. One
that is a context manager is entered for the run and left after it.
"""

from __future__ import annotations

import logging
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any

from modularnas import _core
from modularnas.errors import MissingExtraError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Logging", "MLflow", "TensorBoard"]


class Logging:
    """One line a trial for Python's `logging`.

    Args:
        logger: a logger or the name of one.
        level: of the lines; failed trials are warnings.

    Example:
        >>> study = mn.Study(mn.SearchSpace({"n": mn.integer(1, 9)}), mn.search.Random(), {"n": "max"})
        >>> log = mn.observers.Logging("search")
        >>> study.optimize(lambda point: point["n"], trials=3, progress=False, callbacks=[log])
    """

    def __init__(self, logger: str | logging.Logger = "modularnas", level: int = logging.INFO) -> None:
        self.logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self.level = level

    def __call__(self, trial: _core.Trial) -> None:
        """Writes the line."""
        if trial.error is not None:
            self.logger.warning("trial %d failed: %s", trial.number, trial.error.splitlines()[0])
            return
        values = ", ".join(f"{name} {value:.6g}" for name, value in trial.values.items())
        self.logger.log(self.level, "trial %d %s: %s %s", trial.number, trial.state, values, dict(trial.point))


class TensorBoard:
    """Values of trials, curves of their reports and, in the HParams tab, their points.

    Args:
        folder: where TensorBoard is pointed at.

    Raises:
        MissingExtraError: without TensorBoard.

    Example:
        >>> study.optimize(f, trials=100, callbacks=[mn.observers.TensorBoard("runs/search")])  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtraError('this needs TensorBoard: pip install "modularnas[tensorboard]"') from error
        self.folder = os.fspath(folder)
        self.writer: SummaryWriter = SummaryWriter(self.folder)

    def __enter__(self) -> TensorBoard:
        return self

    def __call__(self, trial: _core.Trial) -> None:
        """Writes one trial."""
        write: Any = self.writer.add_scalar
        for name, value in trial.values.items():
            write(f"trials/{name}", value, trial.number)
        for step, values in trial.reports.items():
            for name, value in values.items():
                write(f"reports/{name}/{trial.number}", value, step)
        if trial.values:
            point = {
                name: value if isinstance(value, (bool, int, float, str)) else str(value)
                for name, value in trial.point.items()
            }
            metrics = {f"hparam/{name}": value for name, value in trial.values.items()}
            hparams: Any = self.writer.add_hparams
            hparams(point, metrics, run_name=f"trial_{trial.number}", global_step=trial.number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.flush()


class MLflow:
    """One run a trial: the point as parameters, values and reports as metrics.

    Args:
        experiment: its name; made if there is none.
        tracking_uri: where MLflow writes; None: where it does by itself.

    Raises:
        MissingExtraError: without MLflow.

    Example:
        >>> study.optimize(f, trials=100, callbacks=[mn.observers.MLflow("search")])  # doctest: +SKIP
    """

    def __init__(self, experiment: str, tracking_uri: str | None = None) -> None:
        try:
            from mlflow.tracking import MlflowClient
        except ModuleNotFoundError as error:
            raise MissingExtraError('this needs MLflow: pip install "modularnas[mlflow]"') from error
        self.client = MlflowClient(tracking_uri)
        found = self.client.get_experiment_by_name(experiment)
        self.experiment_id = found.experiment_id if found else self.client.create_experiment(experiment)

    def __call__(self, trial: _core.Trial) -> None:
        """Writes one trial."""
        run = self.client.create_run(self.experiment_id, run_name=f"trial {trial.number}").info.run_id
        for name, value in trial.point.items():
            self.client.log_param(run, name, value)
        for name, value in trial.values.items():
            self.client.log_metric(run, name, value)
        for step, values in trial.reports.items():
            for name, value in values.items():
                self.client.log_metric(run, f"reported {name}", value, step=step)
        self.client.set_tag(run, "state", trial.state)
        if trial.error is not None:
            self.client.set_tag(run, "error", trial.error)
        self.client.set_terminated(run, "FAILED" if trial.state == "failed" else "FINISHED")
