"""The leaderboard's tables in a real browser: sorting, filters, and what a row opens to."""

from __future__ import annotations

import pytest
from board_browser import choose, columns, find, heading, names, values
from report_records import ATTACKS

from reports.leaderboard.table import board
from reports.tidy.frame import from_records

pytestmark = pytest.mark.extra


def test_ranked_rows_come_first_and_holes_last(page):
    assert values(page, "td.rank") == ["1", "2", "3", "4", "", ""]
    assert names(page)[-2:] == ["standard", "standard"]
    holes = [hole.text for hole in find(page, ".hole") if hole.is_displayed()]
    assert holes[0] == "1 of 4 cells: pgd_l2 failed"


def test_sorting_turns_and_keeps_what_is_missing_last(page):
    for clicks, reverse in ((1, True), (2, False)):
        heading(page, "robust@5").click()
        found = values(page, "td.robust:not(.before)")
        known = [float(value) for value in found if value]
        assert known == sorted(known, reverse=reverse)
        assert found[len(known) :] == ["", ""], clicks
        (sorted_by,) = find(page, "section:first-of-type th[aria-sort]")
        assert sorted_by.get_attribute("aria-sort") == ("descending" if reverse else "ascending")
    heading(page, "defense").click()
    assert names(page) == sorted(names(page))


def test_a_heading_is_sorted_by_the_keyboard(page):
    columns(page, "gain")
    button = heading(page, "gain@5")
    page.execute_script("arguments[0].focus()", button)
    button.send_keys("\n")
    known = [float(value) for value in values(page, "td.gain") if value]
    assert known == sorted(known, reverse=True)


def test_every_filter_filters(page, holed):
    table = board(from_records(holed))
    assert names(page, 2)
    choose(page, "dataset", "0")
    assert names(page, 2) == []
    choose(page, "dataset", "")
    choose(page, "shots", "1")
    seen = {h.text for h in find(page, "section:first-of-type .sort") if h.is_displayed()}
    assert {"rank@1", "robust@1", "robust@0"} <= seen
    assert not {"rank@5", "robust@5"} & seen
    assert names(page, 2) == []
    assert "" not in values(page, "td.rank")
    linf = next(o for o in find(page, "[name=threat] option") if o.text == "linf")
    choose(page, "threat", linf.get_attribute("value"))
    expected = table[(table["threat"] == "linf") & (table["shots"] == 1)]["robust"]
    expected = expected[table["dataset"] == "digits"]
    found = [float(value) for value in values(page, "td.robust:not(.before)")]
    assert sorted(found) == pytest.approx(sorted(expected), abs=1e-6)
    choose(page, "text", "META")
    assert names(page) == ["meta_adv", "meta_adv"]
    assert find(page, "#count")[0].text == "2 rows"
    choose(page, "knowledge", "captured")
    assert names(page) == ["meta_adv", "meta_adv"]


def test_a_row_opens_to_its_curves_heat_map_and_command(page):
    button = next(b for b in find(page, ".open") if b.is_displayed())
    detail = page.find_element("id", button.get_attribute("aria-controls"))
    assert not detail.is_displayed()
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert detail.is_displayed()
    assert len(detail.find_elements("css selector", ".curves polyline")) == 3
    assert len(detail.find_elements("css selector", ".heat tbody tr")) == len(ATTACKS)
    assert "python -m benchmark run --defense" in detail.text
    row = button.find_element("xpath", "ancestor::tr")
    assert page.execute_script("return arguments[0].nextElementSibling", row) == detail
    heading(page, "robust@5").click()
    assert not detail.is_displayed()


def test_names_for_assistive_technology(page):
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        n for n in tree if n.get("role", {}).get("value") in ("button", "combobox", "searchbox")
    ]
    assert len(named) > 10
    assert all(node["name"]["value"] for node in named)
    assert all(find(table, "caption")[0].text for table in find(page, "table.board"))
