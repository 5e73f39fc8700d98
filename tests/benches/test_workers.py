"""What a second worker brings, by the trials/s of one: threads, processes, actors of a Ray cluster on this machine.

The evaluator waits for 0.1 s, as for a device, so that what is measured is the engine and not how busy the machine is. The
first trials are left out, during which workers start.
"""

import time

import pytest

import modularnas as mn

pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("ignore")]
TRIAL_S, TRIALS, COUNTED = 0.1, 100, 60
EVALUATOR = """
import time
def wait(point):
    time.sleep(%g)
    return 1.0
"""


def rate(tmp_path, kind, workers):
    """Trials a second, of the last ones."""
    space = mn.SearchSpace({f"d{i}": mn.choice(list(range(5))) for i in range(6)})
    study = mn.Study(space, mn.search.Random(), {"s": "max"}, storage=tmp_path / f"{kind}{workers}.db")
    path, told_s = f"{tmp_path}/waiting.py:wait", []
    evaluator, how = {
        "threads": (lambda point: time.sleep(TRIAL_S) or 1.0, {"workers": workers}),
        "processes": (path, {"workers": workers, "processes": True}),
        "ray": (mn.distributed.Ray(path, num_workers=workers, num_cpus=0.5), {}),
    }[kind]
    study.optimize(
        evaluator, trials=TRIALS, progress=False, callbacks=[lambda trial: told_s.append(time.monotonic())], **how
    )
    return COUNTED / (told_s[-1] - told_s[-1 - COUNTED])


@pytest.mark.parametrize("kind", ["threads", "processes", "ray"])
def test_a_second_worker(tmp_path, kind, request):
    if kind == "ray":
        request.getfixturevalue("ray_cluster")
    (tmp_path / "waiting.py").write_text(EVALUATOR % TRIAL_S)
    one, two = rate(tmp_path, kind, 1), rate(tmp_path, kind, 2)
    print(f"\n{kind}: 1 worker {one:.2f} trials/s of {TRIAL_S:g} s each, 2 workers {two:.2f}: {two / one:.2f} times")
