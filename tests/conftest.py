"""What every test may ask for. One thread, so that runs are alike and share the machine well."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from audit_fixtures import audit, own, planned  # noqa: F401 (fixtures of several modules)
from gate_fixtures import bad, baseline, check, good  # noqa: F401
from submission_fixtures import changed, handed_in  # noqa: F401

torch.set_num_threads(1)


def _folder(variable):
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no folder")
    return Path(os.environ[variable])


@pytest.fixture
def interruptible():
    """Lets a program of the test get Ctrl-C, even where a shell started us in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def ctrl_c(interruptible):
    """Interrupts a real run into a folder after its first records; gives their files.

    As a terminal does it: the signal goes to the whole group, workers included.
    """

    def call(words, folder):
        run = subprocess.Popen(
            [sys.executable, "-m", "benchmark", *words.split(), folder],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        while not (done := [*(folder / "records").rglob("*.json")]):
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=60)
        assert (run.returncode, out) == (1, "")
        trained, interrupted = err.splitlines()
        assert trained.startswith("trained ")
        assert interrupted.startswith("interrupted: every finished cell is kept")
        return done

    return call


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
    if report.skipped and required and "benchmark" not in item.fixturenames:
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

    def refused(self, *expected):
        """Exit code 2, nothing on standard output, one line that says all of this."""
        assert (self.code, self.out) == (2, "")
        assert self.line.startswith("error: ")
        for part in expected:
            assert part in self.line


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `python -m benchmark` in this process: `command("list attacks")`, or word by word."""
    from benchmark.cli import app as cli

    def call(*words):
        if len(words) == 1:
            words = shlex.split(words[0])
        monkeypatch.setattr(sys, "argv", ["reattack", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.main()
        code = exit.value.code
        return Ended(0 if code is None else code, *capsys.readouterr())

    return call


@pytest.fixture
def run(command, tmp_path):
    """A run of a second into `tmp_path / "results"`: one defense, one attack, no adaptation."""

    def call(*words, attacks="fgsm", defense="standard[epochs=1]", results=tmp_path / "results"):
        usual = {"--limit": 20, "--shots": 0, "--episodes": 1, "--jobs": 1}
        small = [word for pair in usual.items() if pair[0] not in words for word in pair]
        what = ["--defense", defense, "--attacks", attacks, "--results", results]
        return command("run", *what, *small, *words)

    return call


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory):
    """Where `finished` keeps the folder it copies."""
    return tmp_path_factory.mktemp("finished") / "results"


@pytest.fixture
def finished(run, finished_once, tmp_path):
    """A folder that holds one finished record; afterwards it must hold it still, to the byte."""
    if not finished_once.exists():
        assert run("--quiet", results=finished_once).code == 0
    results = shutil.copytree(finished_once, tmp_path / "results")
    (path,) = (results / "records").rglob("*.json")
    before = path.read_bytes()
    yield results
    assert path.read_bytes() == before
    assert not list(results.rglob("*.tmp"))


def pytest_addoption(parser):
    parser.addoption(
        "--write-golden",
        action="store_true",
        help="write the values of tests/identity/test_golden.py anew",
    )
