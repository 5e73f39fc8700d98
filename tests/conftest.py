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
