"""Accuracy against shots as data: the page's script draws it when its row opens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

NAMES = ("clean", "static", "robust")


def curves(lines: Mapping[int, Any]) -> str:
    """JSON of the K, and by name of each curve its value and interval in percent, K by K.

    From the lines of a row by K; empty where fewer than two are complete.
    """
    done = {k: line for k, line in sorted(lines.items()) if not pd.isna(line.robust)}
    if len(done) < 2:
        return ""
    found = {name: [_point(line, name) for line in done.values()] for name in NAMES}
    return json.dumps([[*done], found], separators=(",", ":"))


def _point(line: Any, name: str) -> list[float]:
    low, high = getattr(line, f"{name}_interval")
    return [round(100 * value, 1) for value in (getattr(line, name), low, high)]
