"""W3: one second-order meta-iteration of 8 tasks, side by side.

    python -m pytest tests/perf/test_meta_race.py --benchmark-only -s

`REATTACK_ROUNDS` laps of each contender (3), `REATTACK_THREADS` cores (2). Needs
`pip install -e ".[perf]"`.
"""

import json
from pathlib import Path

import pytest
from racing import race, ratios

FILE = Path(__file__).parent / "meta_contenders.py"
PEERS = ("loop", "loop_kept", "higher")


@pytest.mark.parametrize("rows", [10, 50])
@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_a_meta_iteration(benchmark, dataset, rows):
    pytest.importorskip("higher")
    names = ["reattack", *PEERS]
    laps = benchmark.pedantic(race, (str(FILE), names, dataset, rows), rounds=1)
    benchmark.extra_info.update(figures := ratios(laps, "reattack"))
    print("\n", dataset, rows, json.dumps(figures, indent=1))
    for name in names:
        assert laps[name][0].found == pytest.approx(laps["reattack"][0].found, rel=1e-3), name
    assert figures["loop"]["ratio"] >= 1.0
