"""Defenses: one file each, found by the registry. See `benchmark.core.types.Defense`."""

from __future__ import annotations

from benchmark.core.registry import Registry
from benchmark.core.types import Defense

DEFENSES: Registry[Defense] = Registry("defense", "baselines")
