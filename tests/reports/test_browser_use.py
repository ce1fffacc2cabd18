"""What readers do with the leaderboard page, in a real browser: open, choose, link and copy."""

from __future__ import annotations

import time
from importlib.resources import files

import pandas as pd
import pytest
from report_records import ATTACKS, folder, matrix
from test_browser import browser, choose, columns, find, heading, names  # noqa: F401 (a fixture)

from benchmark.core.schema import About
from reports.leaderboard import page as board_page
from reports.leaderboard.naming import namings
from reports.leaderboard.table import board
from reports.leaderboard.write import write_leaderboard
from reports.tidy.aggregate import per_attack
from reports.tidy.format import adaptations
from reports.tidy.frame import from_records

pytestmark = pytest.mark.extra
EVIL = "=cmd|'calc'!A0 <b>_%&\\input{x}"
TITLES = {
    "standard": About(title="Standard training", summary=EVIL),
    "pgd_at": About(title="PGD-AT", authors="Madry, Others", year=2018, link="https://example.org"),
    "meta_adv": About(title=EVIL, link="javascript:alert(1)"),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("used")
    records = matrix(attacks=ATTACKS, shots=(0, 1, 5), n=60)
    records += matrix(("short_one",), ATTACKS, (0, 1, 5), n=20)
    titled = [
        one.model_copy(
            update={
                "provenance": one.provenance.model_copy(
                    update={"about": TITLES.get(one.cell.defense, About())}
                )
            }
        )
        for one in records
    ]
    return write_leaderboard([folder(root / "r", titled)], root / "out")[0].as_uri()


@pytest.fixture
def page(browser, address):  # noqa: F811
    sized(browser, 1600)
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


def sized(driver, width, height=900):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def visible_heads(page):
    heads = find(page, "section:first-of-type thead .sort")
    return [head.text for head in heads if head.is_displayed()]


@pytest.mark.parametrize("cell", ["td.robust:not(.before) .num", "td.static", "th.defense .ci"])
def test_a_click_anywhere_in_a_row_opens_it_and_another_closes_it(page, cell):
    row = find(page, "tbody[data-threat] tr.row")[0]
    target = next(c for c in row.find_elements("css selector", cell) if c.is_displayed())
    button = row.find_element("css selector", ".open")
    for expected in ("true", "false"):
        target.click()
        assert button.get_attribute("aria-expanded") == expected


def test_a_row_is_opened_by_the_keyboard_and_shows_all_its_numbers(page):
    button = find(page, ".open")[0]
    page.execute_script("arguments[0].focus()", button)
    button.send_keys("\n")
    detail = page.find_element("id", button.get_attribute("aria-controls"))
    told = [term.text for term in find(detail, ".numbers dt")]
    assert {"robust@5", "robust@1", "robust@0", "gain@5", "inflation@5", "collateral@5"} - {
        *told
    } <= {"collateral@5"}
    assert len(find(detail, ".attacks tbody tr")) == len(ATTACKS)
    shades = {cell.get_attribute("class").split()[1] for cell in find(detail, ".attacks td.h")}
    assert len(shades) > 2


def test_the_default_is_short_and_what_is_chosen_stands_in_the_address(page, address):
    assert visible_heads(page) == [
        "rank@5", "defense", "robust@5", "robust@0", "audit", "static@5", "clean@5",
        "n x episodes@5", "over K",
    ]  # fmt: skip
    columns(page, "gain", "training_passes")
    choose(page, "shots", "1")
    assert visible_heads(page) == ["rank@1", "defense", "robust@1", "gain@1", "training"]
    link = page.current_url
    assert link.startswith(f"{address}#")
    page.get("about:blank")
    page.get(link)
    assert visible_heads(page) == ["rank@1", "defense", "robust@1", "gain@1", "training"]
    page.get("about:blank")
    page.get(f"{address}#columns=<b>,gain&threat=9&nothing=1&text=meta")
    assert visible_heads(page) == ["rank@5", "defense", "robust@5", "gain@5"]
    assert names(page) == [EVIL]  # meta_adv, whatever it calls itself


def test_an_attack_is_a_column_of_its_own(page):
    option = next(o for o in find(page, "[name=attack] option") if o.text == "square")
    choose(page, "attack", option.get_attribute("value"))
    assert "robust@5, square" in visible_heads(page)
    cells = [c for c in find(page, "tbody[data-threat] tr.row td.attack") if c.is_displayed()]
    found = [float(cell.get_attribute("data-v")) for cell in cells]
    assert found == sorted(found, reverse=True)
    heading(page, "robust@5, square").click()
    again = [c for c in find(page, "tbody[data-threat] tr.row td.attack") if c.is_displayed()]
    assert [float(cell.get_attribute("data-v")) for cell in again] == found[::-1]


def test_a_short_row_says_on_the_page_why_it_is_not_ranked(page):
    (why,) = [w for w in find(page, ".why") if w.is_displayed()]
    assert why.text == (
        "not ranked, short: has 20 images x 3 episodes, fewer than the usual 60 images x 3 episodes"
    )
    assert names(page)[-1] == "short_one"


@pytest.mark.parametrize("kind", ["csv", "markdown", "latex"])
def test_what_is_seen_is_copied_as_text_that_harms_nobody(page, kind):
    columns(page, "clean")
    find(page, f"[data-copy={kind}]")[0].click()
    text = find(page, "#copy textarea")[0].get_attribute("value")
    find(page, "#copy button")[0].click()
    first, *lines = text.splitlines()
    assert "rank@5" in text and "clean@5" in text and "static@5" not in text
    if kind == "csv":
        assert first == "rank@5,defense,robust@5,clean@5"
        assert len(lines) == 4
        assert any(",'=cmd|" in line for line in lines)
    elif kind == "markdown":
        assert all(line.replace("\\|", "").count("|") == 5 for line in lines)
        assert "<b>" not in text and "&lt;b&gt;" in text
    else:
        rows = [line for line in lines if line.endswith("\\\\")]
        assert all(line.replace("\\&", "").count("&") == 3 for line in rows)
        assert "\\input" not in text and text.isascii()


def test_a_link_that_is_no_address_of_the_web_is_none(page):
    links = [a.get_attribute("href") for a in find(page, "th.defense a")]
    assert {*links} == {"https://example.org/"}


def test_at_400_pixels_rank_name_and_robust_are_seen_and_the_rest_opens(page):
    sized(page, 400)
    assert visible_heads(page) == ["rank@5", "defense", "robust@5"]
    for selector in ("td.rank", "th.defense .name", "td.robust:not(.before) .num"):
        shown = [e for e in find(page, f"tbody[data-threat] tr.row {selector}") if e.is_displayed()]
        assert len(shown) == 4
        assert all(e.rect["x"] >= 0 and e.rect["x"] + e.rect["width"] <= 400 for e in shown)
    find(page, "td.robust:not(.before) .num")[0].click()
    told = [term.text for term in find(page, ".numbers dt") if term.is_displayed()]
    assert {"static@5", "clean@5", "gain@5"} <= {*told}
    assert page.execute_script("return document.documentElement.scrollWidth") <= 400


BROKEN = """
const broken = [];
for (const name of document.querySelectorAll(".name, .variant")) {
  for (const node of name.childNodes) {
    if (node.nodeType !== 3 || !name.checkVisibility()) continue;
    for (const word of node.data.matchAll(/\\w+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      if (range.getClientRects().length > 1) broken.push(word[0]);
    }
  }
}
return broken;"""


@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_no_name_breaks_inside_a_word(page, width):
    sized(page, width)
    assert page.execute_script(BROKEN) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_axe_finds_nothing_serious(page, scheme, width):
    package = pytest.importorskip("axe_core_python", reason="needs the extra `browser`")
    sized(page, width)
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": feature})
    find(page, "td.robust:not(.before) .num")[0].click()
    page.execute_script((files(package) / "axe.min.js").read_text("utf-8"))
    found = page.execute_async_script("axe.run().then(arguments[0])")["violations"]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in grave] == []


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
def test_a_thousand_rows_under_eighty_attacks_open_in_two_seconds(browser, large):  # noqa: F811
    sized(browser, 1600)
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    browser.get("about:blank")
    before, start = busy(browser), time.perf_counter()
    browser.get(large.as_uri())
    assert browser.execute_script("return document.querySelectorAll('tr.row').length") == 1000
    browser.execute_script("return document.body.offsetHeight")
    took, wall = busy(browser) - before, time.perf_counter() - start
    find(browser, "td.robust:not(.before) .num")[0].click()
    assert len(find(browser, ".attacks tbody tr")) == 80
    print(
        f"{large.stat().st_size / 1e6:.1f} MB: {took:.2f} s of a processor, {wall:.2f} s of a clock"
    )
    assert took < 2
