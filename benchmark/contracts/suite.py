"""The rules that every attack and every defense must keep, as a command and as a test.

    python -m benchmark contract --attack NAME[option=value]
    python -m benchmark contract --defense NAME | path/to/file.py:OBJECT
    python -m benchmark contract --dataset NAME | folder:DIR | npz:FILE | ...

Attacks run on toys whose right answer is known (`benchmark.contracts.toys`), defenses on a few
digits. What makes either expensive (steps, queries, epochs ...) is cut unless the user gave it in
brackets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attacks.build import build_attack, strengths_of
from baselines.build import build_defense
from benchmark.contracts.attack_rules import check_attack
from benchmark.contracts.check import Check
from benchmark.contracts.dataset_rules import check_dataset
from benchmark.contracts.defense_rules import check_defense
from benchmark.core.specs import Spec

DATASET = "digits"
"""Whose strengths fill the options of attacks, and whose images the defenses train on."""


def of_attack(text: str) -> Iterator[Check]:
    """Check the attack that `text` names; UsageError if there is none."""
    spec = Spec.parse(text)
    return check_attack(build_attack(spec, strengths_of(DATASET)), _given(spec))


def of_defense(text: str) -> Iterator[Check]:
    """Check the defense that `text` names; UsageError if there is none."""
    spec = Spec.parse(text)
    _, defense = build_defense(text)
    return check_defense(defense, DATASET, dict(spec.options))


def of_dataset(text: str, data_dir: Path | None) -> Iterator[Check]:
    """Check the data set that `text` names."""
    return check_dataset(text, data_dir)


def _given(spec: Spec) -> frozenset[str]:
    return frozenset(key for key, _ in spec.options)
