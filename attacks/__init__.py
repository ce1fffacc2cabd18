"""Attacks: one file per family, found by the registry. See `benchmark.core.types.Attack`."""

from __future__ import annotations

from benchmark.core.registry import Registry
from benchmark.core.types import Attack

ATTACKS: Registry[Attack] = Registry("attack", "attacks")
