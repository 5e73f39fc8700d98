"""Stages on a real Ray cluster of this machine."""

from pathlib import Path

import pytest

import modularnas as mn
from modularnas.pipeline.result import read_result

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]
STEPS = Path(__file__).parent / "mine" / "steps.py"


def stages():
    return {
        "look": mn.Stage(f"{STEPS}:look", arguments={"number": 3}),
        "ready": mn.Stage(
            "modularnas.pipeline.stages.pareto:pareto",
            {"a": "look.trials"},
            arguments={"objectives": {"x": "max", "y": "min"}},
        ),
    }


def test_a_stage_gives_the_same_result_goes_on_when_its_worker_dies_and_fails_with_its_own_error(tmp_path):
    bad = {
        "count": mn.Stage(f"{STEPS}:count", arguments={"to": 5, "die_at": 3}),
        "bad": mn.Stage(f"{STEPS}:refuse", arguments={"reason": "no data"}),
        "after_bad": mn.Stage(f"{STEPS}:look", {"number": "bad.x"}),
    }
    with pytest.raises(mn.PipelineError, match="stage 'bad' failed: ValueError: no data; not run: after_bad") as caught:
        mn.Pipeline({**stages(), **bad}).run(tmp_path / "ray", executor="ray", workers=2)
    assert isinstance(caught.value.__cause__, ValueError)
    counted = read_result(tmp_path / "ray" / "stages" / "count").value()
    assert counted == {"n": 5, "began_at": [0, 3]}
    mn.Pipeline(stages()).run(tmp_path / "here")
    one, other = (read_result(tmp_path / place / "stages" / "ready").outputs for place in ("ray", "here"))
    assert one == other


def test_a_function_of_this_process_goes_to_the_cluster_too(tmp_path):
    assert mn.Pipeline({"a": mn.Stage(lambda: {"x": 2})}).run(tmp_path, executor="ray")["a"] == {"x": 2}
