"""What every test starts from: one torch thread, the same random numbers, and the research data where there is some."""

import os
import pathlib
import random

import numpy as np
import pytest
import torch

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data():
    """The folder of research data: `MODULARNAS_DATA`, else `shared/data` beside the repository."""
    folder = pathlib.Path(os.environ.get("MODULARNAS_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no research data: there is no folder {folder}; set MODULARNAS_DATA to it")
    return folder


@pytest.fixture(scope="module")
def ray_cluster():
    """A real Ray cluster of this machine with four processors, for the tests of a file."""
    # Read when ray is imported: busy machines start slowly, and workers would come after everything else on them.
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray = pytest.importorskip("ray", reason='needs Ray: pip install "modularnas[ray]"')
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    yield
    ray.shutdown()
