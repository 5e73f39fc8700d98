"""Neural architecture search for PyTorch models.

    import modularnas as mn

    supernet = mn.rewrite(model, [mn.rules.kernel_size(3, 5, 7)], example=x)
    supernet.sampling("uniform")          # your own training loop trains it now
    study = mn.Study(supernet.space, mn.search.RegularizedEvolution(), objectives={"accuracy": "max", "macs": "min"})
    study.optimize(mn.evaluate.SharedWeights(supernet, score, calibration=loader), trials=200)
    net = mn.derive(supernet, study.pareto_front[0].point)
    mn.export(net, "best/", example=x)    # plain source and weights

Four parts meet in a study and know nothing of one another: the space, the search algorithm (`search`), the
transformation (`rewrite`, `derive`), the evaluation (`evaluate`).
"""

from collections.abc import Mapping

from modularnas._torch import check_torch

check_torch()  # before the native module is loaded

from modularnas import (  # noqa: E402
    benchmarks,
    distributed,
    evaluate,
    observers,
    ops,
    pruners,
    search,
    spaces,
    tasks,
    train,
    transform,
    tuning,
)
from modularnas._core import (  # noqa: E402
    Decision,
    Point,
    SearchSpace,
    Trial,
    __version__,
    choice,
    integer,
    real,
    subset,
)
from modularnas.automatic import auto, conclude, searchable  # noqa: E402
from modularnas.errors import (  # noqa: E402
    EvaluationError,
    ExportError,
    InternalError,
    MissingExtraError,
    ModularNASError,
    NetworkError,
    PipelineError,
    RuleError,
    SearchError,
    SpaceError,
    StorageError,
    StudyError,
    TensorError,
)
from modularnas.ops import Slot  # noqa: E402
from modularnas.outcome import Failed, Pruned  # noqa: E402
from modularnas.pareto import hypervolume, pareto_front, pareto_ranks  # noqa: E402
from modularnas.pipeline import Pipeline, Stage  # noqa: E402
from modularnas.study import Study  # noqa: E402
from modularnas.transform import Supernet, derive, export, load_export, rewrite, rules  # noqa: E402
from modularnas.tuning import report, tune  # noqa: E402

Mapping.register(Point)

__all__ = [
    "Decision",
    "EvaluationError",
    "ExportError",
    "Failed",
    "InternalError",
    "MissingExtraError",
    "ModularNASError",
    "NetworkError",
    "Pipeline",
    "PipelineError",
    "Point",
    "Pruned",
    "RuleError",
    "SearchError",
    "SearchSpace",
    "Slot",
    "SpaceError",
    "Stage",
    "StorageError",
    "Study",
    "StudyError",
    "Supernet",
    "TensorError",
    "Trial",
    "__version__",
    "auto",
    "benchmarks",
    "choice",
    "conclude",
    "derive",
    "distributed",
    "evaluate",
    "export",
    "hypervolume",
    "integer",
    "load_export",
    "observers",
    "ops",
    "pareto_front",
    "pareto_ranks",
    "pruners",
    "real",
    "report",
    "rewrite",
    "rules",
    "search",
    "searchable",
    "spaces",
    "subset",
    "tasks",
    "train",
    "transform",
    "tune",
    "tuning",
]
