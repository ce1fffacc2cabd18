"""A leaderboard of very many rows in a real browser: it opens at once, and shows them all."""

from __future__ import annotations

import time

import pandas as pd
import pytest
from board_browser import choose, find, heading, names, sized
from report_records import matrix

from benchmark.core.schema import About
from reports.leaderboard import page as board_page
from reports.leaderboard.naming import namings
from reports.leaderboard.table import board
from reports.tidy.aggregate import per_attack
from reports.tidy.format import adaptations
from reports.tidy.frame import from_records

pytestmark = pytest.mark.extra
PAINTED = "requestAnimationFrame(() => setTimeout(done))"
VALUES = (
    "return [...document.querySelectorAll('tr.row td.robust:not(.before)')]"
    ".map(cell => Number(cell.dataset.v))"
)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """1,000 rows x 80 attacks: the rows of a few defenses under other names, again and again."""
    attacks = tuple(f"pgd_linf[steps={n}]" for n in range(1, 81))
    frame = from_records(matrix(("standard", "pgd_at"), attacks, (0, 5), n=30, episodes=2))
    table, lines = board(frame), per_attack(frame)
    table, lines = (part.assign(adaptation=adaptations(part)) for part in (table, lines))
    many = [
        part.assign(defense=part["defense"] + f"[epochs={number}]")
        for part in (table, lines) for number in range(500)
    ]  # fmt: skip
    tables, rows = (pd.concat(half) for half in (many[:500], many[500:]))
    said = tables.assign(about=[About()] * len(tables))
    path = tmp_path_factory.mktemp("large") / "leaderboard.html"
    path.write_text(board_page.page(tables, rows, lines.iloc[:0], [], namings(said)))
    return path


def busy(driver):
    """Seconds of a processor that the page took so far: other work on the machine is not in it."""
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


@pytest.mark.slow
def test_a_thousand_rows_under_eighty_attacks_open_in_two_seconds(browser, large):
    """On a clock, the best of three: other work on the machine is in it, and in no processor's."""
    sized(browser, 1600)
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    found = []
    for _ in range(3):
        browser.get("about:blank")
        before, start = busy(browser), time.perf_counter()
        browser.get(large.as_uri())
        assert browser.execute_script("return document.querySelectorAll('tr.row').length") == 1000
        browser.execute_script(f"return new Promise(done => {PAINTED})")
        found.append((time.perf_counter() - start, busy(browser) - before))
    find(browser, "td.robust:not(.before) .num")[0].click()
    assert len(find(browser, ".attacks tbody tr")) == 80
    wall, took = min(found)
    print(
        f"{large.stat().st_size / 1e6:.1f} MB: {wall:.2f} s of a clock, {took:.2f} s of a processor"
    )
    assert wall < 2
    assert took < 1


SEEN = "return [...document.querySelectorAll('tr.row')].filter(r => r.checkVisibility()).length"


@pytest.mark.slow
def test_the_rows_that_are_not_seen_at_first_are_found_sorted_and_shown(browser, large):
    sized(browser, 1600)
    browser.get("about:blank")
    browser.get(large.as_uri())
    assert browser.execute_script(SEEN) == 200
    assert find(browser, "#count")[0].text == "1000 rows"
    choose(browser, "text", "standard[epochs=499]")
    assert names(browser) == ["standard"]
    assert not find(browser, ".more")[0].is_displayed()
    choose(browser, "text", "")
    heading(browser, "robust@5").click()
    heading(browser, "robust@5").click()
    first = find(browser, "tr.row td.robust:not(.before)")[0].get_attribute("data-v")
    assert browser.execute_script(SEEN) == 200
    assert float(first) == min(browser.execute_script(VALUES))
    (more,) = find(browser, ".more button")
    assert more.text == "Show 800 more rows"
    more.click()
    assert browser.execute_script(SEEN) == 1000
    assert not more.is_displayed()
