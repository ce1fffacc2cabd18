"""Ranks of rows on different networks: what they share is compared, and the rest is said."""

import json

import numpy as np
import pandas as pd
import pytest
from report_records import ATTACKS, folder, matrix, random_outcome, record

from reports.leaderboard.table import board
from reports.leaderboard.write import write_leaderboard
from reports.tidy.frame import from_records

OTHERS = ("standard", "pgd_at", "meta_adv")
REFERENCE = {("digits", "small_cnn", name) for name in OTHERS}


@pytest.fixture(scope="module")
def usual():
    """Three rows of one network under all ATTACKS."""
    return matrix(attacks=ATTACKS, shots=(0, 5), n=120)


def mine(attacks=ATTACKS, right=0.97, network="net.py:Net", name="mine", n=120, **more):
    rng = np.random.default_rng(7)
    return [
        record(
            attack, name, k,
            random_outcome(rng, f"{name} {attack}", (0.99, *[right] * 3), 3 if k else 1, n),
            network=network, **more,
        )
        for attack in attacks for k in (0, 5)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def twin(usual):
    """The records of `pgd_at` on another network."""
    return [
        each.model_copy(update={"cell": each.cell.model_copy(update={"network": "wide"})})
        for each in usual if each.cell.defense == "pgd_at"
    ]  # fmt: skip


def lines(records, threat="all", shots=5, reference=()):
    table = board(from_records(records), reference)
    found = table[(table["threat"] == threat) & (table["shots"] == shots)]
    return found.set_index(["network", "defense"])


def test_a_network_of_ones_own_is_ranked_with_the_others(usual):
    found = lines([*usual, *mine()])
    assert found.loc[("net.py:Net", "mine"), "rank"] == 1
    assert sorted(found.loc["small_cnn", "rank"]) == [2, 3, 4]
    worst = lines([*usual, *mine(right=0.01)])
    assert worst.loc[("net.py:Net", "mine"), "rank"] == 4


def test_the_same_row_on_another_network_has_the_same_place(usual):
    here, there = (
        lines([*usual, *mine(network=name)]) for name in ("small_cnn", "net.py:Net")
    )  # fmt: skip
    columns = ["rank", "rank_low", "rank_high", "robust"]
    for each in (here, there):
        each.index = each.index.droplevel("network")
    pd.testing.assert_frame_equal(here[columns].sort_index(), there[columns].sort_index())


def test_one_defense_on_two_networks_is_two_rows_and_a_tie_says_on_which(usual, twin):
    found = lines([*usual, *twin])
    assert ("wide", "pgd_at") in found.loc[("small_cnn", "pgd_at"), "tied"]
    assert found.loc[("wide", "pgd_at"), "rank"] == found.loc[("small_cnn", "pgd_at"), "rank"]


def test_a_tie_with_another_network_is_said_on_every_page(tmp_path, usual, twin):
    html, md, csv, tex, text = (
        path.read_text()
        for path in write_leaderboard([folder(tmp_path / "r", [*usual, *twin])], tmp_path / "o")
    )
    assert "no paired test tells it from pgd_at (wide)" in html
    assert html.count('class="board"') == 1
    assert "## digits\n" in md
    assert "| pgd_at | wide |" in md and "| pgd_at | small_cnn |" in md
    assert r"pgd\_at & wide & " in tex
    assert "pgd_at (wide)" in csv
    tied = {row["network"]: row["tied"] for row in json.loads(text)["rows"]
            if (row["defense"], row["threat"], row["shots"]) == ("pgd_at", "all", 5)}  # fmt: skip
    assert tied == {
        "small_cnn": ["meta_adv", "pgd_at (wide)"],
        "wide": ["meta_adv (small_cnn)", "pgd_at (small_cnn)"],
    }


def test_a_row_that_lacks_an_attack_is_not_ranked_and_moves_nobody(usual):
    alone, together = lines(usual), lines([*usual, *mine(ATTACKS[:2])])
    row = together.loc[("net.py:Net", "mine")]
    lacking = ", ".join(sorted(ATTACKS[2:]))
    said = f"not ranked, other attacks: has no {lacking}, which the other rows have"
    assert pd.isna(row["rank"]) and row["missing"] == said and not np.isnan(row["robust"])
    ranks = ["rank", "rank_low", "rank_high", "tied"]
    pd.testing.assert_frame_equal(together.drop(("net.py:Net", "mine"))[ranks], alone[ranks])


def test_a_row_with_more_attacks_is_ranked_on_those_of_the_others(usual):
    """Its other attack leaves nothing right, on few images: neither counts."""
    more = mine(("gaussian",), right=0.0, n=30)
    found = lines([*usual, *mine(), *more])
    row = found.loc[("net.py:Net", "mine")]
    assert row["rank"] == 1
    assert row["note"] == (
        "counted on 30 of 120 images: gaussian has no more; "
        f"ranked on {len(ATTACKS)} of {len(ATTACKS) + 1} attacks"
    )
    assert row["robust"] < lines([*usual, *mine()]).loc[("net.py:Net", "mine"), "robust"]


def test_rows_that_share_no_attack_are_not_ranked():
    found = lines([*mine(("fgsm",)), *mine(("pgd_linf",), network="other.py:Net", name="b")])
    assert found["rank"].isna().all()
    assert found["missing"].str.contains("not ranked, no common attacks: ").all()


def test_two_rows_are_ranked_on_what_they_share():
    both = [*mine(ATTACKS[:2]), *mine(ATTACKS, right=0.3, network="wide", name="b")]
    found = lines(both)
    assert found["rank"].to_dict() == {("net.py:Net", "mine"): 1, ("wide", "b"): 2}
    assert found.loc[("wide", "b"), "note"] == f"ranked on 2 of {len(ATTACKS)} attacks"


def test_another_network_on_other_images_is_not_ranked(usual):
    row = lines([*usual, *mine(query="others")]).loc[("net.py:Net", "mine")]
    assert pd.isna(row["rank"]) and "other images: " in row["missing"]


def test_an_attack_that_no_reference_met_is_no_hole_in_theirs(usual):
    """Who runs more attacks, on their network even, leaves the references as they stood."""
    more = mine((*ATTACKS, "gaussian"), network="small_cnn")
    table = lines([*usual, *more], reference=REFERENCE)
    assert table.loc[("small_cnn", "mine"), "rank"] == 1
    alone = lines(usual, reference=REFERENCE)
    for name in OTHERS:
        here, before = (each.loc[("small_cnn", name)] for each in (table, alone))
        assert here["rank"] == before["rank"] + 1
        assert (here["missing"], here["robust"]) == ("", before["robust"])


def test_strangers_do_not_say_which_attacks_count(usual):
    strangers = [
        each for number in range(5) for each in mine(("fgsm",), network=f"n{number}", name="x")
    ]
    found = lines([*usual, *strangers], reference=REFERENCE)
    assert found.loc["small_cnn", "rank"].notna().all()
    assert found.drop("small_cnn", level="network")["rank"].isna().all()
