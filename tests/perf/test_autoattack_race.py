"""W3: `pytest tests/perf/test_autoattack_race.py --benchmark-only`, against pyautoattack unchanged.

Ours as the command line runs it, on as many processes as there are cores (REATTACK_THREADS, 2).
REATTACK_W3_IMAGES (500) test images; on two cores that takes most of an hour. Fewer tell the ratio.
REATTACK_W3_CUT="10 100" cuts iterations and queries of both, for a look at whether all is well.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from benchmark.evaluation.precision import _has_bfloat16
from tests.perf.racing import race, ratios

IMAGES = int(os.environ.get("REATTACK_W3_IMAGES", "500"))
CUT = os.environ.get("REATTACK_W3_CUT", "").split()
OURS = ["reattack_command", *(["reattack_command_bfloat16"] if _has_bfloat16("cpu") else [])]
POINTS = 0.2


@pytest.mark.data
@pytest.mark.parametrize("case", ["lenet5", "resnet2b"])
def test_autoattack_verdicts(benchmark, case, data_dir, checkpoints_dir):
    """At most 0.2 points apart, no success that float32 does not confirm, three times faster."""
    file = str(Path(__file__).with_name("autoattack_contenders.py"))
    before = os.getloadavg()[0]
    laps = benchmark.pedantic(race, (file, [*OURS, "pyautoattack"], case, IMAGES, *CUT), rounds=1)
    told = {name: ratios(laps, name)["pyautoattack"] for name in OURS}
    standing = {name: set(laps[name][0].found[0]) for name in laps}
    apart = {name: len(standing[name]) - len(standing["pyautoattack"]) for name in OURS}
    other = {name: len(standing[name] ^ standing["pyautoattack"]) for name in OURS}
    benchmark.extra_info.update(
        told=told, standing={name: len(rows) for name, rows in standing.items()},
        more_standing_than_theirs=apart, verdicts_that_differ=other, images=IMAGES, cut=CUT,
        load=[before, os.getloadavg()[0]], torch=torch.__version__,
    )  # fmt: skip
    print(benchmark.extra_info)
    for name in OURS:
        assert not laps[name][0].found[1], "a success that float32 does not confirm"
        assert abs(apart[name]) <= max(1, POINTS / 100 * IMAGES)
    assert max(ratio["ratio"] for ratio in told.values()) >= 3
