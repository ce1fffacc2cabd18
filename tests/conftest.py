"""What every test may ask for. One thread, so that runs are alike and share the machine well."""

import os
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where REATTACK_REQUIRE_DATA is set, a test of real data that skips has failed."""
    report = yield
    required = os.environ.get("REATTACK_REQUIRE_DATA") and item.get_closest_marker("data")
    if report.skipped and required:
        report.outcome = "failed"
        report.longrepr = f"skipped, but the data are required: {report.longrepr}"
    return report


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def line(self):
        """The one line on standard error."""
        (line,) = self.err.splitlines()
        return line


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `python -m benchmark` in this process: `command("list attacks")`, or word by word."""
    from benchmark import cli

    def run(*words):
        if len(words) == 1:
            words = shlex.split(words[0])
        monkeypatch.setattr(sys, "argv", ["reattack", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.main()
        code = exit.value.code
        return Ended(0 if code is None else code, *capsys.readouterr())

    return run
