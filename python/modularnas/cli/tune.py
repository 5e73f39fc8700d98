"""`modularnas tune`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from modularnas import SearchSpace, Study
from modularnas.cli.arguments import add_command, constraint, objective, print_json, setting
from modularnas.errors import StudyError
from modularnas.pipeline.execute import resolve
from modularnas.search import create
from modularnas.tuning import Script, parse_parameter


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "tune",
        run,
        "tune the arguments of a script, or of a Python function",
        [
            'tune train.py --param "lr=log(1e-4,1e-1)" --param "batch-size=choice(32,64)" --objective accuracy=max',
            'tune train.py --param "lr=log(1e-4,1e-1)" --trials 50 --workers 2 -- --data cifar10 --epochs 3',
            'tune "train.py:objective" --param "lr=log(1e-4,1e-1)"',
            "show runs/tune/study.db",
        ],
    )
    command.usage = "modularnas tune [-h] --param PARAM [options] SCRIPT [-- ARGUMENT ...]"
    command.epilog = (
        "The script gets --lr VALUE … and what stands after --, and prints its result as a line of JSON, such as\n"
        '{"accuracy": 0.93}, or by mn.report(accuracy=0.93). A function is called with lr=VALUE ….\n\n'
        f"{command.epilog}"
    )
    command.add_argument("script", metavar="SCRIPT", help="train.py, any command in quotes, or file.py:function")
    command.add_argument(
        "--param",
        action="append",
        required=True,
        help="NAME=log(low,high), real(low,high), int(low,high[,step]) or choice(a,b,…); once for each",
    )
    command.add_argument(
        "--objective", action="append", default=[], metavar="NAME=max|min", help="the metric (default: accuracy=max)"
    )
    command.add_argument("--constraint", action="append", default=[], metavar="NAME<=VALUE", help="of other metrics")
    command.add_argument("--algorithm", default="tpe", help="see `modularnas algorithms` (default: %(default)s)")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the algorithm")
    command.add_argument("--trials", type=int, default=30, help="how many in all (default: %(default)s)")
    command.add_argument("--workers", type=int, default=1, help="runs at once (default: %(default)s)")
    command.add_argument("--trial-timeout", type=float, metavar="SECONDS", help="a run that takes longer has failed")
    command.add_argument("--template", default="--{name} {value}", help="how a script gets them (default: %(default)s)")
    command.add_argument("--out", default="runs/tune", help="for study.db and the outputs (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--json", action="store_true", help="print the best for programs")


def run(options: argparse.Namespace) -> int:
    """Does it."""
    space = SearchSpace(dict(map(parse_parameter, options.param)))
    objectives = dict(map(objective, options.objective)) or {"accuracy": "max"}
    out = Path(options.out)
    evaluator: Any
    if ":" in options.script and " " not in options.script:
        function = resolve(options.script)
        evaluator = lambda point: function(**point)  # noqa: E731
    else:
        evaluator = Script(
            options.script,
            list(objectives),
            arguments=options.rest,
            folder=out / "trials",
            template=options.template,
            timeout_s=options.trial_timeout,
        )
    out.mkdir(parents=True, exist_ok=True)
    study = Study(
        space,
        create(options.algorithm, **dict(map(setting, options.set))),
        objectives,
        dict(map(constraint, options.constraint)),
        storage=out / "study.db",
        seed=options.seed,
    )
    study.optimize(evaluator, trials=options.trials, workers=options.workers, progress=not options.json)
    failed = [trial for trial in study.trials if trial.state == "failed"]
    front = study.pareto_front
    if not front:
        raise StudyError(f"all {len(failed)} trials failed; the last: {failed[-1].error} (outputs in {out / 'trials'})")
    if options.json:
        best = [{"number": t.number, "point": dict(t.point), "values": t.values} for t in front]
        print_json({"best": best, "trials": len(study.trials), "failed": len(failed)})
        return 0
    for trial in front:
        values = ", ".join(f"{name} {value:.6g}" for name, value in trial.values.items())
        point = " ".join(f"{name}={value}" for name, value in trial.point.items())
        print(f"trial {trial.number}: {values}  with  {point}")
    print(f"{len(study.trials)} trials, {len(failed)} failed; all of it in {out}")
    return 0
