"""Runs a pipeline twice: whole, and killed with SIGKILL in every stage and started again; compares what came out.

    python killed.py PIPELINE OUT NAME=VALUE ...

Processes are forked from this one, which has imported everything and made the supernet, so a start costs little. A kill
that came after its stage was done is tried again, earlier. Prints JSON: for each stage at what share of the time that
it took in the whole run it was killed, and the stages whose results differ.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from modularnas.cli.arguments import setting
from modularnas.pipeline.described import read_pipeline
from modularnas.pipeline.result import read_result
from modularnas.pipeline.stages.network import build_supernet
from modularnas.pipeline.stages.task import make_task

#: Stages whose results are measured times: they differ by nature, and are taken over from the whole run.
MEASURED = {"latency"}
ATTEMPTS = 12


def start(pipeline, seed, out):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        pipeline.run(out, seed=seed, workers=1)
        status = 0
    finally:
        os._exit(status)


def killed_inside(pipeline, seed, cut, stage, after_s):
    """Whether the process was killed while it was in the stage, or before that stage had stored its result."""
    child = start(pipeline, seed, cut)
    while not (cut / "stages" / stage / "key").is_file():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), f"the run ended before '{stage}' began"
        time.sleep(0.001)
    time.sleep(after_s)
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    return read_result(cut / "stages" / stage) is None


def warm(whole):
    """What every process would make again; it is a function of the description, so it changes nothing."""
    constructed = read_result(whole / "stages" / "construct")
    if constructed is not None:
        description = constructed.value()["supernet"]
        build_supernet(description)
        make_task(description["task"])


def main():
    name, out, *settings = sys.argv[1:]
    torch.set_num_threads(1)
    pipeline, seed = read_pipeline(name, settings=dict(map(setting, settings)), size="smoke")
    whole, cut = Path(out, "whole"), Path(out, "cut")
    _, status = os.waitpid(start(pipeline, seed, whole), 0)
    assert status == 0, "the uninterrupted run failed"
    warm(whole)
    rng = random.Random(0)
    kills = {}
    for stage in pipeline.check():
        if stage in MEASURED:
            shutil.copytree(whole / "stages" / stage, cut / "stages" / stage)
            continue
        share = rng.uniform(0.2, 0.8)
        for _ in range(ATTEMPTS):
            if killed_inside(pipeline, seed, cut, stage, share * read_result(whole / "stages" / stage).wall_s):
                kills[stage] = round(share, 2)
                break
            for later in pipeline.check()[pipeline.check().index(stage) :]:
                shutil.rmtree(cut / "stages" / later, ignore_errors=True)
            share /= 3
    _, status = os.waitpid(start(pipeline, seed, cut), 0)
    assert status == 0, "the last run failed"
    different = [
        stage
        for stage in pipeline.stages
        if read_result(whole / "stages" / stage).outputs != read_result(cut / "stages" / stage).outputs
    ]
    print(
        json.dumps({"kills": kills, "missed": sorted({*pipeline.stages} - {*kills} - MEASURED), "different": different})
    )


if __name__ == "__main__":
    main()
