"""Rows and cells with less evidence than the others: what they may not change, and what is said."""

import numpy as np
import pandas as pd
import pytest
from report_records import ATTACKS, folder, matrix, one, outcome, random_outcome, record

from reports.leaderboard.table import RANKS, board
from reports.leaderboard.write import write_leaderboard
from reports.tidy.aggregate import headline
from reports.tidy.frame import from_records
from reports.tidy.warnings import warnings

OTHERS = ("standard", "pgd_at", "meta_adv")


@pytest.fixture(scope="module")
def usual():
    """Three rows of 200 images and 3 episodes."""
    return matrix(attacks=ATTACKS, shots=(0, 5), n=200)


def rows_of(name, n=200, episodes=3, attacks=ATTACKS, shots=(0, 5), right=0.97, **more):
    """A row that is nearly always right."""
    rng = np.random.default_rng(7)
    return [
        record(
            attack, name, k,
            random_outcome(rng, f"{name} {attack}", (0.99, *[right] * 3), episodes if k else 1, n),
            **more,
        )
        for attack in attacks for k in shots
    ]  # fmt: skip


def standing(records, shots=5, reference=()):
    """Of the three rows: rank, its interval and ties."""
    table = board(from_records(records), reference).query(f"threat == 'all' and shots == {shots}")
    return table.set_index("defense").loc[[*OTHERS], [*RANKS]]


def kept(records, short, *reason, shots=5, reference=()):
    """The short row is not ranked, says why, and the other rows stand as they did without it."""
    together = [*records, *short]
    pd.testing.assert_frame_equal(
        standing(together, shots, reference), standing(records, shots, reference)
    )
    name = short[0].cell.defense
    row = one(board(from_records(together), reference), name, shots)
    assert pd.isna(row.rank)
    assert row.status == "done"
    assert not np.isnan(row.robust)
    for part in ("not ranked, ", *reason):
        assert part in row.missing
    ranks = headline(from_records(together)).set_index(["defense", "shots", "scope", "over"])[
        "rank"
    ]
    assert reference or pd.isna(ranks[name, shots, "all", "family mean"])


def test_a_row_of_a_hundred_images_once_is_not_first(usual):
    short = rows_of("short", 100, 1)
    kept(
        usual,
        short,
        "short: has 100 images x 1 episodes, fewer than the usual 200 images x 3 episodes",
    )
    kept(usual, short, shots=0)


def test_a_row_of_twenty_images_leaves_the_intervals_of_ranks(usual):
    kept(usual, rows_of("short", 20), "has 20 images")
    table = standing([*usual, *rows_of("short", 20)])
    assert (table["rank_high"] - table["rank_low"]).max() < 2


def test_fewer_episodes_alone(usual):
    kept(usual, rows_of("short", episodes=1), "200 images x 1 episodes")
    whole = board(from_records([*usual, *rows_of("short", episodes=1)]))
    assert one(whole, "short", 0).rank == 1  # where nothing adapts it is as long as they are


def test_one_attack_of_a_row_is_short(usual):
    short = [*rows_of("short", attacks=ATTACKS[1:]), *rows_of("short", 50, attacks=ATTACKS[:1])]
    kept(usual, short, "has 50 images", f"counted on 50 of 200 images: {ATTACKS[0]} has no more")
    row = one(board(from_records([*usual, *short])), "short", 5, "l2")
    assert row.rank == 1  # that attack is of another norm


def test_other_images_of_the_same_number(usual):
    kept(usual, rows_of("short", query="q1"), "other images: ")


def test_fewer_training_seeds():
    whole = matrix(attacks=ATTACKS, shots=(0, 5), n=60, seeds=(0, 1, 2))
    kept(whole, rows_of("short", 60), "has 60 images x 3 episodes, fewer than", "x 3 seeds")


def test_a_longer_row_is_ranked_on_what_the_others_have(usual):
    """Right on the first 200 as `meta_adv` never is, wrong on all that come after."""
    rng = np.random.default_rng(3)
    giant = []
    for each in rows_of("giant", 400, 4):
        adapted = each.cell.budget.shots > 0
        late = np.arange(400) >= 200
        table = (rng.uniform(size=(4 if adapted else 1, 400)) < 0.8) & ~late
        found = outcome(table[:1], table, table)
        giant.append(record(each.cell.attack, "giant", each.cell.budget.shots, found))
    table = board(from_records([*usual, *giant]))
    row = one(table, "giant")
    assert row.rank == 1
    assert row.robust < one(table, "pgd_at").robust
    assert (row.n, row.episodes) == (400, 4)
    assert row.note == "ranked on 200 images x 3 episodes of them"
    assert sorted(one(table, name).rank for name in OTHERS) == [2, 3, 4]
    found = headline(from_records([*usual, *giant])).query("scope == 'all' and shots == 5")
    assert (found.loc[found["defense"] == "giant", "rank"] == 1).all()


def test_many_short_rows_do_not_make_the_references_long(usual):
    reference = {("digits", "small_cnn", name) for name in OTHERS}
    short = [each for number in range(5) for each in rows_of(f"short{number}", 20)]
    kept(usual, short, "has 20 images", reference=reference)


def test_of_two_rows_the_longer_counts():
    records = [*rows_of("long", right=0.5), *rows_of("short", 100, 1)]
    table = board(from_records(records))
    assert one(table, "long").rank == 1
    assert pd.isna(one(table, "short").rank)


def test_all_pages_say_what_each_row_has_and_why_it_is_not_ranked(tmp_path, usual):
    results = folder(tmp_path / "r", [*usual, *rows_of("short", 100, 1)])
    html, md, csv, tex, text = (p.read_text() for p in write_leaderboard([results], tmp_path / "o"))
    for page in (html, md, tex):
        assert "200 x 3" in page
        assert "100 x 1" in page
        assert "n x episodes@5" in page
    for page in (html, md, csv, tex, text):
        assert "fewer than the usual 200 images x 3 episodes" in page
    assert "A row is short, and not ranked, if" in html


# Within a line (one defense and K, several attacks).


def cut(records, **change):
    """The records with the first of meta_adv at K = 5 replaced by a shorter one."""
    first = next(r for r in records if (r.cell.defense, r.cell.budget.shots) == ("meta_adv", 5))
    tables = (first.outcome.clean_before, first.outcome.before, first.outcome.clean,
              first.outcome.static, first.outcome.reattacked)  # fmt: skip
    n, episodes = change.get("n"), change.get("episodes")
    clean_before, before, clean, static, again = (table.unpack()[:episodes, :n] for table in tables)
    short = outcome(before, static, again, clean, clean_before)
    mine = record(first.cell.attack, "meta_adv", 5, short, unseen=first.unseen,
                  trained_on=first.trained_on)  # fmt: skip
    return [mine if each is first else each for each in records], first.cell.attack


@pytest.mark.parametrize(
    ("change", "words"),
    [({"episodes": 1}, "1 of 3 episodes"), ({"n": 120}, "120 of 200 images")],
)
def test_a_line_is_counted_on_what_all_its_cells_have_and_says_so(usual, change, words):
    records, attack = cut(usual, **change)
    frame = from_records(records)
    row = one(board(frame), "meta_adv")
    assert row.note == f"counted on {words}: {attack} has no more"
    assert {(f.kind, f.message) for f in warnings(frame) if f.kind == "cut"} == {("cut", row.note)}
    mine = frame[(frame["defense"] == "meta_adv") & (frame["shots"] == 5)]
    n, episodes = change.get("n"), change.get("episodes")
    tables = [each.each(lambda table: table[:episodes, :n]) for each in mine["verdicts"]]
    families: dict[str, list[np.ndarray]] = {}
    for family, each in zip(mine["family"], tables, strict=True):
        families.setdefault(family, []).append(each.robust)
    expected = np.mean([np.logical_and.reduce(group).mean() for group in families.values()])
    assert row.robust == pytest.approx(expected)
    assert pd.isna(row.rank)
    assert not [f for f in warnings(from_records(usual)) if f.kind in ("cut", "unranked")]


def test_a_line_with_a_seed_that_only_some_cells_have_is_incomplete(usual):
    extra = rows_of("pgd_at", attacks=ATTACKS[:1], seed=1)
    row = one(board(from_records([*usual, *extra])), "pgd_at")
    assert row.status == "missing"
    assert row.missing.startswith("3 of 8 cells: ")
