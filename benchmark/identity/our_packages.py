"""Whether our packages are ours: a folder of the user's that is called alike may come first."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from benchmark.core.errors import UsageError

BESIDE = ("attacks", "baselines", "reports")
"""Packages that lie beside `benchmark`."""


def check_packages() -> None:
    """UsageError where a folder that happens to be called like one of ours comes first."""
    ours = Path(__file__).resolve().parents[2]
    for name in BESIDE:
        found = find_spec(name)
        places = [*(found.submodule_search_locations or [found.origin or "."])] if found else []
        if not places or Path(places[0]).resolve() != ours / name:
            raise UsageError(
                f"`{name}` here is {places[0] if places else 'missing'}, which is not ours: Python "
                "takes what lies in this folder first; run `reattack ...` in place of `python -m "
                "benchmark ...`, or Python in another folder"
            )
