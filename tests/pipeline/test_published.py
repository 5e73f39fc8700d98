"""The pipelines of the papers in smoke size, and a user's killed with SIGKILL in every stage."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import modularnas as mn
from modularnas.pipeline.described import published, read_pipeline

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("name", published())
def test_a_published_pipeline_runs_in_smoke_size(name, data, tmp_path):
    pipeline, seed = read_pipeline(name, settings={"data": str(data / "cifar10_small.npz")}, size="smoke")
    results = pipeline.run(tmp_path, seed=seed, workers=1)
    assert 0 <= results["evaluate"]["values"]["accuracy"] <= 1
    searched = results.get("search", {}).get("values", {})
    if "macs" in searched:  # what the search counted are the costs of one picture
        assert searched["macs"] == results["evaluate"]["values"]["macs"]
    net = mn.load_export(results["export"]["path"])
    assert sum(p.numel() for p in net.parameters()) == results["evaluate"]["values"]["params"]


@pytest.mark.slow
def test_a_pipeline_killed_in_every_stage_ends_as_an_uninterrupted_one(data, tmp_path):
    command = [sys.executable, str(HERE / "killed.py"), str(HERE / "mine" / "mine.yaml"), str(tmp_path)]
    done = subprocess.run([*command, f"data={data / 'cifar10_small.npz'}"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout.splitlines()[-1])
    assert verdict["different"] == []
    assert verdict["missed"] == []
