"""The figure for a paper's column, what defenses are called in plots, and that colours stay."""

from __future__ import annotations

import pytest
from report_records import ATTACKS, HOSTILE, matrix

from benchmark.core.schema import About
from reports.leaderboard.naming import namings, nobody, short_names
from reports.leaderboard.table import board
from reports.plots.column import MOST, column_figure
from reports.plots.palette import marks
from reports.plots.tradeoff import plane_figure
from reports.plots.write import write_plots
from reports.summary.curve import curve
from reports.tidy.aggregate import per_family, views
from reports.tidy.frame import from_records

DEFENSES = ("standard", "pgd_at", "meta_adv")


@pytest.fixture(scope="module")
def frame():
    return from_records(matrix(DEFENSES, ATTACKS, (0, 1, 5), n=60))


def test_its_lines_are_the_headline_above_and_each_family_below(frame):
    head, families = views(frame).head, per_family(frame)
    figure = column_figure(head, families)
    figure.draw_without_rendering()
    assert figure.get_size_inches()[0] == 3.4
    above, *below = figure.axes
    known = marks(head["defense"])
    whole = head[(head["scope"] == "all") & (head["over"] == "family mean")]
    for defense in DEFENSES:
        mine = whole[whole["defense"] == defense].sort_values("shots")
        drawn = [line for line in above.get_lines() if line.get_color() == known[defense].colour]
        static, robust = (line.get_ydata() for line in drawn)
        assert list(static) == pytest.approx([*(100 * mine["static"])])
        assert list(robust) == pytest.approx([*(100 * mine["robust"])])
    named = [axes.get_title("left") for axes in below]
    assert named == ["linf-gradient", "l2-gradient", "score-based"]
    assert {line.get_color() for line in below[0].get_lines()} == {
        known[name].colour for name in DEFENSES
    }


def test_a_family_is_the_union_of_its_attacks(frame):
    found = per_family(frame)
    row = found[(found["family"] == "linf-gradient") & (found["defense"] == "pgd_at")].iloc[-1]
    mine = frame[(frame["defense"] == "pgd_at") & (frame["family"] == "linf-gradient")]
    tables = [cell.verdicts.robust for cell in mine[mine["shots"] == row.shots].itertuples()]
    assert len(tables) == 2
    assert row.robust == pytest.approx((tables[0] & tables[1]).mean())


def test_a_defense_has_one_colour_wherever_it_is_drawn(frame):
    known = marks(frame["defense"])
    table = board(frame)
    some = table[table["defense"] != "standard"]
    for part in (table, some):
        (axes,) = plane_figure(part, known).axes
        colours = {line.get_color() for line in axes.get_lines() if line.get_zorder() == 4}
        assert colours == {known[name].colour for name in set(part["defense"])}


def test_a_defense_of_the_project_has_one_colour_whoever_stands_beside_it():
    alone, others = marks(["trades"]), marks(["mine", "trades[epochs=8]", "trades", "pgd_at"])
    assert alone["trades"] == others["trades[epochs=8]"]
    assert len({*others.values()}) == 4
    assert marks(["pgd_at", "mine"])["pgd_at"] == others["pgd_at"]


def test_what_a_report_draws_has_labels_and_the_same_colours_as_a_curve(tmp_path):
    told = About(title="PGD-AT")
    records = [
        one.model_copy(update={"provenance": one.provenance.model_copy(update={"about": told})})
        for one in matrix(("pgd_at[epochs=8]",), [f"pgd_linf[eps={e}]" for e in (0.1, 0.2)], (0,))
    ]
    records += matrix(("standard",), [f"pgd_linf[eps={e}]" for e in (0.1, 0.2)], (0,))
    drawn = curve(from_records(records), "eps").plot()
    lines = {line.get_label(): line.get_color() for line in drawn.axes[0].get_lines()}
    assert lines["PGD-AT"] == marks(["pgd_at"])["pgd_at"].colour
    assert lines["standard"] == marks(["standard"])["standard"].colour
    assert not any("epochs" in label for label in lines)


def test_one_k_is_no_curve_and_many_defenses_are_cut_to_the_best():
    one = from_records(matrix(DEFENSES, ATTACKS, (0,), n=30))
    assert column_figure(views(one).head, per_family(one)) is None
    many = from_records(matrix([f"d{i}" for i in range(9)], ATTACKS[:2], (0, 5), n=30, episodes=1))
    figure = column_figure(views(many).head, per_family(many))
    assert f"the best {MOST} of 9" in figure.get_suptitle()
    assert len(figure.axes[0].get_lines()) == 2 * MOST


def named(*names, about=None):
    records = matrix(names, ATTACKS[:1], (0,), n=10)
    told = about or {}
    return from_records(
        one.model_copy(
            update={
                "provenance": one.provenance.model_copy(
                    update={"about": told.get(one.cell.defense, About())}
                )
            }
        )
        for one in records
    )


KNOWN = {"pgd_at": About(title="PGD-AT"), "e_at": About(title="E-AT")}


def known(name):
    return KNOWN.get(name.partition("[")[0], About())


def test_names_say_in_words_what_tells_variants_apart():
    spec = "e_at[passes=200000,start=pgd_at[passes=800000]]"
    found = namings(named(spec, "pgd_at[epochs=8]", "pgd_at[epochs=9,ramp=1]", "own.py:Net"), known)
    assert found[spec].name == "E-AT (200k passes, from PGD-AT (800k passes))"
    assert found["pgd_at[epochs=9,ramp=1]"].name == "PGD-AT (9 epochs, ramp 1)"
    assert found["own.py:Net"].name == "Net"
    assert short_names(found)[spec] == "E-AT"
    assert short_names(found)["pgd_at[epochs=8]"] == "PGD-AT (8 epochs)"


def test_a_label_is_taken_from_records_and_a_title_of_ours_is_not():
    about = {
        "pgd_at": About(title="The best", label="PGD-AT, long"),
        "theirs": About(title="PGD-AT", link="https://example.org/x"),
        "forged": About(title="E-AT", link="javascript:alert(1)"), "e_at": About(title="no"),
    }  # fmt: skip
    found = namings(named(*about, about=about), known)
    assert found["pgd_at"].name == "PGD-AT, long"
    assert found["theirs"].link == "https://example.org/x"
    assert found["forged"].link == ""
    assert found["e_at"].name != found["forged"].name
    assert "forged" in found["forged"].name


def test_no_two_are_shown_alike_and_hostile_names_are_drawn(tmp_path):
    about = {name: About(title=name[:300]) for name in HOSTILE}
    frame = from_records(
        one.model_copy(
            update={
                "provenance": one.provenance.model_copy(update={"about": about[one.cell.defense]})
            }
        )
        for one in matrix(HOSTILE, ATTACKS[:2], (0, 5), n=20, episodes=1)
    )
    names = short_names(namings(frame, nobody))
    assert len({*names.values()}) == len(names)
    paths = write_plots(views(frame), tmp_path, board(frame), per_family(frame), names)
    assert {path.name.partition("-")[0] for path in paths} >= {"column", "plane", "matrix", "shots"}
    for path in paths:
        assert path.suffix == ".png" or "<script" not in path.read_text().lower()
