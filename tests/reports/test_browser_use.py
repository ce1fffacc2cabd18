"""What readers do with the leaderboard page, in a real browser: open, choose, link and copy."""

from __future__ import annotations

from importlib.resources import files

import pytest
from board_browser import choose, columns, find, heading, names, scheme, sized, visible_heads
from report_records import ATTACKS, folder, matrix

from benchmark.core.schema import About
from reports.leaderboard.write import write_leaderboard

Keys = pytest.importorskip(
    "selenium.webdriver.common.keys", reason="needs the extra `browser`"
).Keys
pytestmark = pytest.mark.extra
EVIL = "=cmd|'calc'!A0 <b>_%&\\input{x}"
TITLES = {
    "standard": About(title="Standard training", summary=EVIL),
    "pgd_at": About(title="PGD-AT", authors="Madry, Others", year=2018, link="https://example.org"),
    "meta_adv": About(title=EVIL, link="javascript:alert(1)"),
}


def elsewhere(one):
    """The record of another network."""
    return one.model_copy(update={"cell": one.cell.model_copy(update={"network": "net.py:Net"})})


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    root = tmp_path_factory.mktemp("used")
    records = matrix(attacks=ATTACKS, shots=(0, 1, 5), n=60)
    records += matrix(("short_one",), ATTACKS, (0, 1, 5), n=20)
    records = [elsewhere(one) if one.cell.defense == "pgd_at" else one for one in records]
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
def page(browser, address):
    sized(browser, 1600)
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []


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
        "rank@5", "defense", "network", "robust@5", "robust@0", "audit", "static@5", "clean@5",
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
        assert first == "rank@5,defense,robust@5,clean@5"  # the network was not chosen
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


def within(page, *selectors, width=400):
    """Of every row that is seen, these parts, none cut off by the edge or scrolled away."""
    for selector in selectors:
        shown = [e for e in find(page, f"tbody[data-threat] tr.row {selector}") if e.is_displayed()]
        assert len(shown) == 4
        assert all(e.rect["x"] >= 0 and e.rect["x"] + e.rect["width"] <= width for e in shown)


def test_at_400_pixels_rank_name_and_robust_are_seen_and_the_rest_opens(page):
    sized(page, 400)
    assert visible_heads(page) == ["rank@5", "defense", "robust@5"]
    within(page, "td.rank", "th.defense .name", "td.robust:not(.before) .num")
    find(page, "td.robust:not(.before) .num")[0].click()
    told = [term.text for term in find(page, ".numbers dt") if term.is_displayed()]
    assert {"static@5", "clean@5", "gain@5", "network"} <= {*told}
    assert page.execute_script("return document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("attack", ATTACKS)
def test_at_400_pixels_an_attack_stands_beside_rank_name_and_robust(page, attack):
    sized(page, 400)
    option = next(o for o in find(page, "[name=attack] option") if o.text == attack)
    choose(page, "attack", option.get_attribute("value"))
    assert len(visible_heads(page)) == 4
    within(page, "td.rank", "th.defense .name", "td.robust:not(.before) .num", "td.attack .num")


def test_at_1000_pixels_the_default_columns_need_no_scrolling(page):
    sized(page, 1000)
    (wide, scrolled) = page.execute_script(
        "const e = document.querySelector('#boards .wide'); return [e.clientWidth, e.scrollWidth]"
    )
    assert scrolled <= wide


def test_the_network_is_a_column_that_sorts_and_is_searched(page):
    assert {cell.text for cell in find(page, "td.network") if cell.is_displayed()} == {
        "small_cnn", "net.py:Net"
    }  # fmt: skip
    heading(page, "network").click()
    first = find(page, "tbody[data-threat] tr.row td.network")[0]
    assert first.text == "net.py:Net"
    choose(page, "text", "net.py")
    assert names(page) == ["PGD-AT"]


def pressed(page, *keys):
    """Keys pressed one after the other where the focus is; gives what has it then."""
    for key in keys:
        page.switch_to.active_element.send_keys(key)
    return page.switch_to.active_element


def tabbed(page, *selectors):
    """Tab until something of these has the focus."""
    for _ in range(60):
        found = pressed(page, Keys.TAB)
        if page.execute_script("return arguments[0].matches(arguments[1])", found, *selectors):
            return found
    raise AssertionError(f"no tab stop at {selectors}")


def test_the_keyboard_alone_filters_chooses_sorts_opens_and_copies(page):
    skip = tabbed(page, ".skip")
    assert skip.rect["x"] >= 0  # seen once it has the focus
    tabbed(page, "[name=text]").send_keys("pgd")
    assert names(page) == ["PGD-AT"] * len(names(page))
    for _ in "pgd":
        pressed(page, Keys.BACKSPACE)
    tabbed(page, ".chooser summary").send_keys(Keys.ENTER)
    tabbed(page, "[value=gain]").send_keys(Keys.SPACE)
    assert "gain@5" in visible_heads(page)
    assert pressed(page, Keys.ESCAPE).tag_name == "summary"
    tabbed(page, "[data-copy=csv]").send_keys(Keys.ENTER)
    assert "gain@5" in page.switch_to.active_element.get_attribute("value")
    pressed(page, Keys.ESCAPE)
    sort = tabbed(page, "th.gain .sort")
    sort.send_keys(Keys.ENTER)
    assert sort.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    opener = tabbed(page, ".open")
    opener.send_keys(Keys.SPACE)
    assert opener.get_attribute("aria-expanded") == "true"
    assert pressed(page, Keys.TAB).get_attribute("class") != "open"  # into what it opened, or on
    pressed(page, Keys.SHIFT + Keys.TAB)
    opener.send_keys(Keys.ENTER)
    assert opener.get_attribute("aria-expanded") == "false"


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


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_axe_finds_nothing_serious(page, mode, width):
    package = pytest.importorskip("axe_core_python", reason="needs the extra `browser`")
    sized(page, width)
    scheme(page, mode)
    find(page, "td.robust:not(.before) .num")[0].click()
    page.execute_script((files(package) / "axe.min.js").read_text("utf-8"))
    found = page.execute_async_script("axe.run().then(arguments[0])")["violations"]
    scheme(page)
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in grave] == []
