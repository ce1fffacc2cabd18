"""What every test may ask for. One thread, so that runs are alike and share the machine well."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


def _folder(variable):
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no folder")
    return Path(os.environ[variable])


@pytest.fixture(scope="session")
def data_dir():
    return _folder("REATTACK_DATA")


@pytest.fixture(scope="session")
def checkpoints_dir():
    return _folder("REATTACK_CHECKPOINTS")
