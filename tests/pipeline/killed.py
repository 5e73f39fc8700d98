"""Runs a pipeline twice: whole, and killed with SIGKILL in every stage and started again; compares what came out.

    python killed.py PIPELINE OUT NAME=VALUE ...

Processes are forked from this one, which has imported everything, so a start costs nothing. Prints JSON.
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
from modularnas.pipeline.folder import RunFolder
from modularnas.pipeline.result import read_result

#: Stages whose results are measured times: they differ by nature, and are taken over from the whole run.
MEASURED = {"latency"}


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


def begun(out, stage):
    return (out / "stages" / stage / "key").is_file()


def main():
    name, out, *settings = sys.argv[1:]
    torch.set_num_threads(1)
    pipeline, seed = read_pipeline(name, settings=dict(map(setting, settings)), size="smoke")
    whole, cut = Path(out, "whole"), Path(out, "cut")
    _, status = os.waitpid(start(pipeline, seed, whole), 0)
    assert status == 0, "the uninterrupted run failed"
    rng = random.Random(0)
    kills = {}
    for stage in pipeline.check():
        if stage in MEASURED:
            shutil.copytree(whole / "stages" / stage, cut / "stages" / stage)
            continue
        lasts_s = read_result(whole / "stages" / stage).wall_s
        child = start(pipeline, seed, cut)
        while not begun(cut, stage) and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        time.sleep(0.4 * rng.random() * lasts_s)
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        kills[stage] = "after it was done" if read_result(cut / "stages" / stage) else "inside"
    _, status = os.waitpid(start(pipeline, seed, cut), 0)
    assert status == 0, "the last run failed"
    with RunFolder(cut):
        pass
    different = [
        stage
        for stage in pipeline.stages
        if read_result(whole / "stages" / stage).outputs != read_result(cut / "stages" / stage).outputs
    ]
    print(json.dumps({"kills": kills, "different": different}))


if __name__ == "__main__":
    main()
