"""The plugin in somebody's test suite: fixture, marker, bad arguments, and nothing heavy."""

import tomllib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import numpy.fft  # noqa: F401 (pytester forgets what its runs import; this cannot come twice)
import pytest
from gate_records import CELL, adapted, base, folder, unadapted, worsened

from reports.gate.check import measured, update

pytest_plugins = ["pytester"]

INSTALLED = any(one.name == "reattack" for one in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "benchmark.pytest_plugin")


@pytest.fixture
def suite(pytester):
    """A project with a baseline, results as good as it, and worse ones."""
    good = folder(pytester.path / "good", [unadapted(base()), adapted(base(episodes=3))])
    worse = unadapted(worsened(base(), 40, 10))
    folder(pytester.path / "bad", [worse, adapted(base(episodes=3))])
    folder(pytester.path / "half", [unadapted(base())])
    update(pytester.path / "baseline.json", measured(good, None))
    pytester.makeini("[pytest]\naddopts = --strict-markers\nfilterwarnings = error")

    def run(source):
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess(*PLUGIN, "-p", "no:cacheprovider")

    return run


def test_the_example_of_the_docstring(suite):
    done = suite(
        """
        import pytest

        @pytest.mark.robustness(baseline="baseline.json", results="good", tolerance=2)
        def test_no_robustness_was_lost():
            pass

        def test_nor_in_another_run(robustness):
            judgement = robustness(baseline="baseline.json", results="good")
            assert not judgement.those("new")
        """
    )
    done.assert_outcomes(passed=2)


def test_a_drop_fails_by_marker_and_by_fixture(suite):
    done = suite(
        """
        import pytest

        @pytest.mark.robustness(baseline="baseline.json", results="bad")
        def test_by_marker():
            pass

        @pytest.mark.robustness(baseline="baseline.json", results="good")
        def test_by_both(robustness):
            robustness()
            robustness(results="bad")

        @pytest.mark.robustness(baseline="baseline.json", results="bad")
        def test_a_fixture_that_is_not_called(robustness):
            robustness(tolerance=3)
        """
    )
    done.assert_outcomes(failed=2, passed=1)
    done.stdout.fnmatch_lines(
        ["robust accuracy: 1 REGRESSED, 2 unchanged of 3", f"{CELL}: *-3.0 points*"]
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("results='good'", "robustness: expected baseline=FILE*"),
        ("baseline='nowhere.json'", "no baseline at *nowhere.json*"),
        ("baseline='baseline.json', results='nowhere'", "expected records below*"),
        ("baseline='baseline.json', results='good', tolerance='1'", "--tolerance: expected*"),
        ("baseline='baseline.json', results='good', alpha=2", "--alpha: expected*"),
        ("baseline='baseline.json', results='half'", "*in the baseline, not in the results"),
        ("baseline='baseline.json', perf='nowhere.json'", "*not a readable file of benchmarks*"),
        ("baseline='baseline.json', suite='nope'", "unknown suite 'nope'*"),
    ],
)
def test_what_cannot_be_checked_fails(suite, arguments, said):
    done = suite(
        f"""
        import pytest

        def test_it(robustness):
            robustness({arguments})

        @pytest.mark.robustness({arguments})
        def test_it_too():
            pass
        """
    )
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines([said, "*test_it_too*", said])


def test_a_misspelt_argument_fails(suite):
    done = suite(
        """
        import pytest

        @pytest.mark.robustness(baseline="baseline.json", resluts="good")
        def test_it():
            pass
        """
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*got baseline, resluts"])


def test_nothing_heavy_is_imported_before_a_check_runs(pytester):
    pytester.makeconftest(
        """
        import sys

        def pytest_collection_finish(session):
            heavy = {"torch", "numpy", "pandas", "scipy", "matplotlib", "pydantic", "reports"}
            assert "benchmark.pytest_plugin" in sys.modules
            assert not heavy & set(sys.modules), heavy & set(sys.modules)
        """
    )
    pytester.makepyfile("def test_it(): pass")
    done = pytester.runpytest_subprocess(*PLUGIN, "-p", "no:benchmark")
    done.assert_outcomes(passed=1)


def test_it_is_declared_to_pytest():
    content = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    (module,) = content["project"]["entry-points"]["pytest11"].values()
    assert import_module(module).robustness
