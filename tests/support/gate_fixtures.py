"""Fixtures of the tests of `check`: results and baselines; `conftest` hands them out."""

import pytest
from gate_records import adapted, base, folder, unadapted, worsened


@pytest.fixture
def check(command, tmp_path, monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

    def call(*words, baseline=tmp_path / "baseline.json"):
        return command("check", "--baseline", baseline, *words)

    return call


@pytest.fixture
def good(tmp_path):
    """Two cells of one model, one of them adapted in three episodes."""
    return folder(tmp_path / "good", [unadapted(base()), adapted(base(episodes=3))])


@pytest.fixture
def bad(tmp_path):
    """The same, the unadapted cell three points worse."""
    worse = unadapted(worsened(base(), lost=40, won=10))
    return folder(tmp_path / "bad", [worse, adapted(base(episodes=3))])


@pytest.fixture
def baseline(check, good, tmp_path):
    """Written from `good`; afterwards the same to the byte."""
    assert check("--update", "--results", good).code == 0
    path = tmp_path / "baseline.json"
    before = path.read_bytes()
    yield path
    assert path.read_bytes() == before
    assert not list(tmp_path.rglob("*.tmp"))
