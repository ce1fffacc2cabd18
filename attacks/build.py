"""Reads strengths.toml: how strong each attack is on each data set."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from attacks import ATTACKS
from attacks.unavailable import ABSENT
from benchmark.core.errors import unknown
from benchmark.core.specs import Spec, number
from benchmark.core.types import Attack

Strengths = Mapping[str, Mapping[str, Any]]


@cache
def strengths_of(dataset: str) -> Strengths:
    """The tables of one data set, by norm or attack name; fractions such as "8/255" are read."""
    tables = tomllib.loads(files("attacks").joinpath("strengths.toml").read_text("utf-8"))
    if dataset not in tables:
        raise unknown("data set in attacks/strengths.toml", dataset, tables)
    return {
        key: {
            option: number(value) if isinstance(value, str) else value
            for option, value in table.items()
        }
        for key, table in tables[dataset].items()
    }


def build_attack(spec: Spec | str, strengths: Strengths) -> Attack:
    """The attack a spec describes, with the options nobody gave taken from `strengths`."""
    spec = Spec.parse(spec) if isinstance(spec, str) else spec
    if spec.name in ABSENT:
        return ABSENT[spec.name]
    component = ATTACKS.get(spec.name)
    defaults = {**strengths.get(component.norm, {}), **strengths.get(component.name, {})}
    return ATTACKS.build(spec, defaults)
