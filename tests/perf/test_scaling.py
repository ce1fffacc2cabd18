"""W4: two workers against one process, one thread each; and what a cell costs beside its passes.

    python -m pytest tests/perf/test_scaling.py --benchmark-only -s

Start-up (importing torch in workers) is inside the ratios, as a user meets it; a Ray runs already.
"""

from __future__ import annotations

import logging
import statistics
import time

import pytest
import torch
from own_models import Team, fill_with

ROUNDS = 3
HERE, TWO, RAY = Team("here"), Team("processes", 2), Team("ray", 2)
MATRIX = {
    "attacks": ",".join(f"pgd_linf[steps={steps}]" for steps in range(230, 246)),
    "shots": [0, 1], "episodes": 2, "limit": 397,
}  # fmt: skip
"""16 groups of 2 cells on digits: some 30 s in one process on one core."""
FEW, MANY = 20, 220


def cheap(cells: int) -> dict:
    """So many cells whose attack costs nothing."""
    attacks = ",".join(f"fgsm[eps=0.{number:03d}]" for number in range(1, cells + 1))
    return {"attacks": attacks, "shots": [0], "limit": 20}


def seconds(team: Team, folder, plan) -> float:
    """A whole run, the training not counted: the model is there."""
    fill_with(HERE, folder, **{**plan, "attacks": "tifgsm", "shots": [0]})
    begin = time.perf_counter()
    run = fill_with(team, folder, **plan)
    assert set(run.ended) == {"done"}
    return time.perf_counter() - begin


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Seconds of one process, in each round."""
    torch.set_num_threads(1)
    return [seconds(HERE, tmp_path_factory.mktemp("here"), MATRIX) for _ in range(ROUNDS)]


@pytest.fixture
def ray_of_two():
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        logging_level=logging.CRITICAL,
    )  # fmt: skip
    yield
    ray.shutdown()


def measure(benchmark, single, team, tmp_path_factory):
    """At least 1.8 times faster, by the medians; every ratio is attached."""
    found = []

    def once():
        found.append(seconds(team, tmp_path_factory.mktemp("two"), MATRIX))

    benchmark.pedantic(once, rounds=ROUNDS)
    ratios = sorted(one / two for one, two in zip(single, found, strict=True))
    benchmark.extra_info.update(
        one=[round(value, 2) for value in single], two=[round(value, 2) for value in found],
        ratios=[round(value, 3) for value in ratios],
    )  # fmt: skip
    ratio = statistics.median(single) / statistics.median(found)
    print(f"\n{team.executor}: {ratio:.2f} times one process", benchmark.extra_info)
    assert ratio >= 1.8


def test_two_processes_against_one(benchmark, single, tmp_path_factory):
    measure(benchmark, single, TWO, tmp_path_factory)


def test_two_ray_workers_against_one(benchmark, single, tmp_path_factory, ray_of_two):
    measure(benchmark, single, RAY, tmp_path_factory)


@pytest.mark.parametrize("team", [HERE, Team("processes", 1)], ids=lambda team: team.executor)
def test_a_cell_costs_little_beside_its_passes(benchmark, team, tmp_path_factory):
    """Under 20 ms; the difference of two runs leaves out what is paid once."""
    found = []

    def once():
        few, many = (
            seconds(team, tmp_path_factory.mktemp("cheap"), cheap(cells)) for cells in (FEW, MANY)
        )
        found.append((many - few) / (MANY - FEW))

    benchmark.pedantic(once, rounds=ROUNDS)
    milliseconds = [round(1000 * value, 2) for value in found]
    benchmark.extra_info.update(milliseconds=milliseconds)
    print(f"\n{team.executor}: {milliseconds} ms per cell")
    assert statistics.median(found) < 0.020
