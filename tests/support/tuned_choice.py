"""A choice of `tune` that tests hand around."""

from __future__ import annotations

from benchmark.results.records import Choice

DEFENSE = "standard[epochs=2]"
CHOICE = Choice(
    dataset="digits", network="small_cnn", defense=DEFENSE, knowledge="captured", method="head",
    steps=3, lr=0.05, attacks=("fgsm", "square[queries=9]"),
    families=("linf-gradient", "score-based"), shots=(1,), seeds=(0,), episodes=2, n=40,
    candidates=4, max_clean_drop=0.01, robust=0.5, interval=(0.4, 0.6), before=0.45,
    clean_drop=0.0, created="2026-01-01T00:00:00Z", commit=None,
)  # fmt: skip
