"""Attacking again only what stored examples leave standing: the same robust@K, fewer passes."""

from __future__ import annotations

import pytest
from tiny_runs import prepare, run, tiny_plan

from attacks import ATTACKS

SPARED = "pgd_linf[steps=5],fgm_l2,aa_fab_t[iterations=5],aa_square[queries=20],bim[steps=5]"
MEETS_ALL = "apgd_linf[steps=5],jitter[steps=3]"
"""Their libraries deal random numbers to the batch as it comes."""


def both_ways(folder, attacks, limit=60):
    """The records of one plan under both settings."""
    plan = tiny_plan(attacks=attacks, shots=[0, 2], episodes=2, limit=limit)
    found = {}
    for name in ("all", "standing"):
        done = run(plan, folder / name, reattack=name)
        assert set(done.ended) == {"done"}
        found[name] = done.records
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return both_ways(tmp_path_factory.mktemp("runs"), f"{SPARED},{MEETS_ALL}")


def robust(outcome):
    return (outcome.static.unpack() & outcome.reattacked.unpack()).tolist()


def test_robust_accuracy_is_the_same_image_by_image(runs):
    assert len(runs["all"]) == 14
    for usual, quick in zip(*runs.values(), strict=True):
        assert robust(quick.outcome) == robust(usual.outcome)
        for part in ("clean", "static", "before", "clean_before"):
            assert getattr(quick.outcome, part) == getattr(usual.outcome, part)


def test_what_stored_examples_break_is_spared(runs):
    """And says so: its reattacked@K is no number of its own."""
    for usual, quick in zip(*runs.values(), strict=True):
        spares = usual.cell.budget.adapts and usual.cell.attack in SPARED
        assert (quick.cost.forwards < usual.cost.forwards) == spares
        assert any("only where stored examples failed" in flag for flag in quick.flags) == spares
        assert not any("stored examples" in flag for flag in usual.flags)
        if spares:
            assert robust(quick.outcome) == quick.outcome.reattacked.unpack().tolist()
        else:
            assert quick.outcome == usual.outcome


@pytest.mark.parametrize("name", ["jitter", "square", "tpgd"])
def test_a_library_that_deals_to_the_batch_would_find_others(name, tmp_path, monkeypatch):
    """The control: spared all the same, its images get other random numbers, and verdicts flip."""
    monkeypatch.setattr(ATTACKS.get(name), "by_image", True)
    runs = both_ways(tmp_path, f"{name}[queries=20]" if name == "square" else name, limit=200)
    usual, quick = (records[1].outcome for records in runs.values())
    assert robust(usual) != robust(quick)


def test_only_records_of_cells_that_adapt_are_stale_for_the_other(tmp_path):
    plan = tiny_plan(attacks="fgsm", shots=[0, 1], limit=20)
    expected = ({"done": 2}, {"done": 1, "cached": 1}, {"cached": 2})
    for name, ended in zip(("all", "standing", "standing"), expected, strict=True):
        assert prepare(plan, tmp_path, reattack=name).run() == ended
