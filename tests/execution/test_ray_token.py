"""A Ray of one run alone: a second process needs its token, and nothing else reaches it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmark.core.errors import UsageError
from benchmark.execution import ray_backend
from benchmark.execution.ray_backend import LOOPBACK, check_ray

pytest.importorskip("ray", reason="needs the extra `ray`")
pytestmark = [pytest.mark.slow, pytest.mark.extra]

SERVER = """
import os, sys
from benchmark.execution.ray_backend import OnRay
if sys.argv[1] == "open":  # as it was
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from contextlib import nullcontext
    from benchmark.execution import ray_backend
    ray_backend.own_ray = lambda: nullcontext({"include_dashboard": False})
before = dict(os.environ)
with OnRay(None, 1, 1, 0.0):
    import ray
    address, token = ray.get_runtime_context().gcs_address, os.environ.get("RAY_AUTH_TOKEN")
    print(address, token, file=sys.__stdout__, flush=True)
    sys.stdin.read()
print({name for name in os.environ if "AUTH" in name or "CLUSTER" in name} - set(before))
"""
INTRUDER = """
import os, sys
import ray
ray.init(sys.argv[1], log_to_driver=False)
print("ran in", ray.get(ray.remote(lambda: os.getpid()).remote(), timeout=20))
"""


class Cluster(NamedTuple):
    """One that another process has started."""

    process: subprocess.Popen
    address: str
    token: str

    def join(self, home: Path, **words: str) -> str:
        """What a second process that knows nothing but this has to say."""
        ours = {name: value for name, value in os.environ.items() if "RAY" not in name}
        few = {"RAY_NUM_REDIS_GET_RETRIES": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        few |= LOOPBACK  # or it would ask the other addresses of this machine, where nobody is
        done = subprocess.run(
            [sys.executable, "-c", INTRUDER, self.address], capture_output=True, text=True,
            env={**ours, **few, "HOME": str(home), **words}, timeout=60, check=False,
        )  # fmt: skip
        assert bool(done.returncode) == (not done.stdout)
        return done.stdout + done.stderr


def start(kind: str) -> Cluster:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, kind], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    return Cluster(process, *process.stdout.readline().split())


@pytest.fixture(scope="module")
def cluster():
    """As `--executor ray` starts it; afterwards the environment is as it was."""
    found = start("protected")
    yield found
    out, err = found.process.communicate(timeout=60)
    assert out == "set()\n", err


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": 64 * "0"},
    ],
    ids=["nothing", "mode", "another"],
)
def test_a_second_process_without_the_token_is_refused(cluster, tmp_path, words):
    told = cluster.join(tmp_path, **words)
    assert "InvalidAuthToken" in told
    assert "ran in" not in told


def test_a_second_process_with_the_token_gets_in(cluster, tmp_path):
    told = cluster.join(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=cluster.token)
    assert "ran in" in told


def test_it_would_get_in_without_protection(tmp_path):
    open_ = start("open")
    assert "ran in" in open_.join(tmp_path, RAY_AUTH_MODE="disabled")
    open_.process.communicate(timeout=60)


def test_every_start_has_a_token_of_its_own(cluster):
    other = start("protected")
    other.process.communicate(timeout=60)
    assert len(cluster.token) == len(other.token) == 64
    assert cluster.token != other.token


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_listens_beyond_loopback_and_no_command_line_has_the_token(cluster):
    members = family(cluster.process.pid)
    assert any("raylet" in read(pid, "cmdline") for pid in members), "it reads the right ones"
    listening = [address for pid in members for address in listens(pid)]
    assert len(listening) > 3
    assert {address[-8:] for address in listening} == {"0100007F"}
    assert not [pid for pid in members if cluster.token in read(pid, "cmdline")]


def family(pid: int) -> list[int]:
    """A process, its children and theirs."""
    tasks = os.listdir(f"/proc/{pid}/task")
    children = [int(word) for task in tasks for word in read(pid, f"task/{task}/children").split()]
    return [pid, *(one for child in children for one in family(child))]


def read(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def listens(pid: int) -> list[str]:
    """Local addresses of listening TCP sockets, in hexadecimal: the last four bytes are IPv4's."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed by now
            links.append(os.readlink(link))
    sockets = {found[1] for link in links if (found := re.match(r"socket:\[(\d+)]", link))}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in read(pid, f"net/{table}").splitlines()[1:]
    ]
    return [row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets]


# What there is to say before a Ray is started or joined.


def test_an_older_ray_is_refused(monkeypatch):
    monkeypatch.setattr(ray_backend, "version", lambda name: "2.51.2")
    with pytest.raises(UsageError, match=r"needs Ray 2\.52, got 2\.51\.2: pip install"):
        check_ray(None)
