"""Adversarial training side by side with a plain loop: images per second, as a ratio.

    python -m pytest tests/perf/test_training_race.py --benchmark-only -s

`REATTACK_ROUNDS` laps of each contender (3), `REATTACK_THREADS` cores (2), `REATTACK_IMAGES` of
MNIST in one epoch (6400).
"""

import json
import os
from pathlib import Path

import pytest
from racing import race, ratios
from training_contenders import CONTENDERS

FILE = Path(__file__).parent / "training_contenders.py"
IMAGES = int(os.environ.get("REATTACK_IMAGES", "6400"))

pytestmark = pytest.mark.data


@pytest.mark.parametrize("network", ["small_cnn", "medium_cnn"])
def test_an_epoch_of_adversarial_training(benchmark, data_dir, monkeypatch, network):
    monkeypatch.setenv("REATTACK_DATA", str(data_dir))
    laps = benchmark.pedantic(race, (str(FILE), list(CONTENDERS), network, IMAGES), rounds=1)
    figures = ratios(laps, "reattack")
    for name in CONTENDERS:
        figures[name]["images per second"] = round(IMAGES / figures[name]["seconds"])
    benchmark.extra_info.update(figures)
    print("\n", network, json.dumps(figures, indent=1))
    learnt = [lap.found for name in CONTENDERS for lap in laps[name]]
    assert min(learnt) > 0.5, "both learn"
    assert figures["plain_loop"]["ratio"] >= 0.9, "ours in float32 does 17 passes for 16"
    assert figures["plain_loop"]["ratio"] / figures["reattack_bfloat16"]["ratio"] >= 1.0
