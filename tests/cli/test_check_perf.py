"""`check --perf`: ratios out of pytest-benchmark's own file, gated like accuracies."""

import getpass
import json
import platform
import sys
from pathlib import Path

import pytest
from gate_records import base, folder, unadapted

from reports.gate.baseline import read_baseline
from reports.gate.performance import read_ratios

sys.path.insert(0, str(Path(__file__).parents[1] / "perf"))
from racing import Lap, ratios

pytest_plugins = ["pytester"]


def benchmarks(path, name="test_race[a]", **found):
    """A file of benchmarks whose contenders took so many times our time."""
    laps = {"reattack": [Lap(1.0, 1.0, 10.0, None)]}
    laps |= {other: [Lap(times, times, 10.0, None)] for other, times in found.items()}
    extra = ratios(laps, "reattack")
    path.write_text(json.dumps({"benchmarks": [{"name": name, "extra_info": extra}]}))
    return path


@pytest.fixture
def check(command, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return lambda *words: command("check", "--baseline", tmp_path / "baseline.json", *words)


@pytest.fixture
def baseline(check, tmp_path):
    then = benchmarks(tmp_path / "then.json", loop=1.5, foolbox=2.0)
    assert check("--update", "--perf", then).code == 0
    return tmp_path / "baseline.json"


def test_a_baseline_of_ratios(baseline):
    assert read_baseline(baseline).ratios == {
        "test_race[a]: foolbox": 2.0, "test_race[a]: loop": 1.5, "test_race[a]: reattack": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("loop", "foolbox", "code", "last"),
    [
        (1.5, 2.0, 0, "3 unchanged of 3"),
        (1.28, 1.71, 0, "3 unchanged of 3"),
        (1.27, 2.0, 1, "1 REGRESSED, 2 unchanged of 3"),
        (1.27, 1.0, 1, "2 REGRESSED, 1 unchanged of 3"),
        (1.5, 2.5, 0, "1 improved, 2 unchanged of 3"),
    ],
)
def test_a_ratio_below_the_baseline_by_more_than_the_tolerance(
    check, baseline, tmp_path, loop, foolbox, code, last
):
    now = benchmarks(tmp_path / "now.json", loop=loop, foolbox=foolbox)
    ended = check("--perf", now)
    assert (ended.code, ended.out.splitlines()[-1]) == (code, last)


def test_the_tolerance_is_a_flag(check, baseline, tmp_path):
    now = benchmarks(tmp_path / "now.json", loop=1.2, foolbox=2.0)
    assert check("--perf", now).code == 1
    assert check("--perf", now, "--perf-tolerance", 0.25).code == 0
    assert "ratio 1.5 -> 1.2, below 1.27" in check("--perf", now).out


def test_a_missing_contender(check, baseline, tmp_path):
    ended = check("--perf", benchmarks(tmp_path / "now.json", loop=1.5))
    assert ended.code == 2
    assert "1 of 3 cells are missing, e.g. test_race[a]: foolbox" in ended.line


def test_cells_and_ratios_together(check, baseline, tmp_path):
    """Updating one keeps the other; both are judged where both are given."""
    results = folder(tmp_path / "results", [unadapted(base())])
    check("--perf", tmp_path / "then.json", "--results", results).refused("holds no cells")
    assert check("--update", "--results", results).code == 0
    assert len(read_baseline(baseline).ratios) == 3
    ended = check("--perf", tmp_path / "then.json", "--results", results)
    assert ended.out.splitlines()[-1] == "5 unchanged of 5"
    assert check("--results", results).out.splitlines()[-1] == "2 unchanged of 2"


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"benchmarks": 3}', '{"benchmarks": [1, {}, {"extra_info": 3}]}',
        '{"benchmarks": [{"name": "a", "extra_info": {"b": {"ratio": "fast"}}}]}',
        '{"benchmarks": [{"name": "a", "extra_info": {"b": {"ratio": 0}}}]}',
        '{"benchmarks": [{"name": "a", "extra_info": {"b": {"ratio": NaN}}}]}',
        '{"benchmarks": [{"name": "a", "extra_info": {"b": {"ratio": 1e999}}}]}',
        '{"benchmarks": [{"name": "a", "extra_info": {"b": {"ratio": true}}}]}',
        json.dumps({"benchmarks": 2 * [{"name": "\x1b<b>", "extra_info": {"b": {"ratio": 2}}}]}),
    ],
)  # fmt: skip
def test_files_that_are_none(check, baseline, tmp_path, text):
    path, before = tmp_path / "now.json", baseline.read_bytes()
    path.write_text(text)
    for words in ((), ("--update",)):
        ended = check("--perf", path, *words)
        ended.refused(str(path))
        assert ended.line.isprintable()
    assert baseline.read_bytes() == before


@pytest.fixture(autouse=True)
def outside_of_xdist(monkeypatch):
    """Its workers measure nothing, and neither does what they start."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


def test_what_pytest_benchmark_writes(pytester):
    pytester.makepyfile(
        """
        def test_race(benchmark):
            benchmark.pedantic(lambda: None, rounds=1)
            benchmark.extra_info["loop"] = {"ratio": 1.5, "from": 1.4, "to": 1.6}
            benchmark.extra_info["note"] = "not a ratio"
        """
    )
    pytester.runpytest_subprocess(*ALONE, "--benchmark-only", "--benchmark-json=found.json")
    assert read_ratios(pytester.path / "found.json") == {"test_race: loop": 1.5}


ALONE = ("-p", "no:xdist")
PERF = Path(__file__).parents[1] / "perf"
SAVED = sorted((PERF / "history").rglob("*.json"))
KNOWN = {"machine", "system", "python_implementation", "python_version", "cpu", "torch"}


def test_what_is_saved_is_short_nameless_and_gates_the_next_run(pytester, check, baseline):
    """The command of tests/perf/conftest.py, on a race of its own, twice; then `compare`."""
    pytester.makeconftest((PERF / "conftest.py").read_text())
    pytester.makepyfile(
        """
        def test_race(benchmark):
            benchmark.pedantic(lambda: None, rounds=3)
            benchmark.extra_info["loop"] = {"ratio": 1.23456789}
        """
    )
    words = ("--benchmark-only", "--benchmark-autosave", "--benchmark-storage=history")
    for _ in range(2):
        pytester.runpytest_subprocess(*ALONE, *words, "--benchmark-save-data").assert_outcomes(
            passed=1
        )
    first, second = sorted((pytester.path / "history").rglob("*.json"))
    content = json.loads(first.read_text())
    assert content["machine_info"].keys() <= {*KNOWN, "OMP_NUM_THREADS"}
    assert content["commit_info"].keys() <= {"id", "dirty", "time"}
    text = first.read_text()
    assert not [name for name in (platform.node(), getpass.getuser()) if f'"{name}"' in text]
    assert str(pytester.path) not in text
    (one,) = content["benchmarks"]
    assert "data" not in one["stats"]
    assert one["extra_info"]["loop"]["ratio"] == 1.235
    assert len(f"{one['stats']['min']:g}".lstrip("0.").split("e")[0].replace(".", "")) <= 4
    compared = pytester.runpytest_subprocess(
        *ALONE, "--benchmark-only", "--benchmark-compare", "--benchmark-storage=history"
    )
    compared.stdout.fnmatch_lines(["*test_race*0002*"])
    assert check("--update", "--perf", first).code == 0
    assert check("--perf", second).code == 0
    second.write_text(second.read_text().replace("1.235", "1.0"))
    assert check("--perf", second).code == 1


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_the_history_of_this_project_can_be_gated(path, check, tmp_path):
    content = json.loads(path.read_text())
    assert content["machine_info"].keys() <= {*KNOWN, "OMP_NUM_THREADS"}
    assert read_ratios(path)
    assert check("--update", "--perf", path).code == 0
    assert check("--perf", path).code == 0
