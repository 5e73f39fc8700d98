"""`modularnas demo`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from modularnas.cli.arguments import add_command, print_json
from modularnas.errors import ModularNASError


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "demo",
        run,
        "search a ResNet-18 on real pictures, end to end",
        ["demo", "demo --data cifar10 cifar-10-batches-py --device cuda"],
    )
    command.add_argument(
        "--data", nargs="+", default=["digits"], metavar=("NAME", "PATH"), help="digits (default), or cifar10 PATH"
    )
    command.add_argument("--out", default="runs/demo", help="folder for results (default: %(default)s)")
    command.add_argument("--device", default="cpu", help="cpu (default), cuda, …")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--epochs", type=int, help="epochs of the supernet")
    command.add_argument("--trials", type=int, help="candidates of each search")
    command.add_argument("--image-size", type=int, default=32, help="CIFAR-10 pictures are resized to it (default: 32)")
    command.add_argument("--n-train", type=int, help="how many CIFAR-10 pictures to train on (default: all)")
    command.add_argument("--smoke", action="store_true", help="as little of everything as runs through")
    command.add_argument("--json", action="store_true", help="print the table for programs, all else to stderr")


def run(options: argparse.Namespace) -> None:
    """Does it."""
    from dataclasses import replace

    from modularnas import demo

    name, *rest = options.data
    if name == "digits" and not rest:
        pictures = demo.load_digits()
    elif name == "cifar10" and len(rest) == 1:
        pictures = demo.load_cifar10(rest[0], n_train=options.n_train, image_size=options.image_size)
    else:
        raise ModularNASError(f"--data is {' '.join(options.data)}; expected digits, or cifar10 PATH")
    plan = demo.Plan()
    if options.smoke:
        plan = demo.Plan(epochs=1, fine_tune_epochs=1, trials=4, population=2, n_calibration=1)
        pictures = pictures.first(64)
    if options.epochs is not None:
        plan = replace(plan, epochs=options.epochs)
    if options.trials is not None:
        plan = replace(plan, trials=options.trials)
    if plan.epochs < 1 or plan.trials < 1:
        raise ModularNASError(f"--epochs is {plan.epochs} and --trials is {plan.trials}; expected 1 or more of each")
    say = (lambda line: print(line, file=sys.stderr, flush=True)) if options.json else print
    table = demo.run(pictures, options.out, device=options.device, plan=plan, seed=options.seed, say=say)
    if options.json:
        print_json(table)
