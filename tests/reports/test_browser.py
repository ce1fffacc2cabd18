"""The leaderboard page driven in a real browser; skips where there is no chromium or selenium."""

from __future__ import annotations

import json
import shutil

import pytest
from planted_audits import rich_audit
from report_records import ATTACKS, folder, matrix, record, without
from test_board_pictures import pictured

from reports.audit.page import write_page
from reports.leaderboard.table import board
from reports.leaderboard.write import write_leaderboard
from reports.tidy.frame import from_records

webdriver = pytest.importorskip("selenium.webdriver", reason="needs the extra `browser`")
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.extra,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with its driver"),
]
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
EVIL = (
    '"><img src=//example.org/x onerror=document.title="owned"></script><script>alert(1)</script>'
)


@pytest.fixture(scope="module")
def records():
    found = matrix(attacks=ATTACKS, shots=(0, 1, 5), n=60, methods=("finetune", "head"))
    found = without(found, "standard", "pgd_l2", 5)
    found += matrix((EVIL, "pgd_at"), ATTACKS[:2], (0, 10), n=40, dataset="mnist")
    return [*found, record("pgd_l2", "standard", 5, status="failed", reason=EVIL)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(records, tmp_path_factory):
    root = tmp_path_factory.mktemp("board")
    return write_leaderboard([folder(root / "r", records)], root / "out")[0].as_uri()


@pytest.fixture(scope="module")
def illustrated(tmp_path_factory):
    """A page whose rows open to pictures."""
    root = tmp_path_factory.mktemp("illustrated")
    small = matrix(attacks=ATTACKS, shots=(0, 5), n=60)
    return write_leaderboard([pictured(root / "r", small)], root / "out")[0].as_uri()


def opened(browser, address):
    """The page, freshly opened; afterwards it has asked for nothing and complained of nothing."""
    browser.get_log("performance")
    browser.get(address)
    yield browser
    assert browser.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in sent if m["method"].endswith("WillBeSent")}
    assert {url for url in asked if not url.startswith("data:")} == {address}
    loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert all(name.startswith("data:") for name in browser.execute_script(loaded))
    assert browser.title == "Leaderboard: robustness after adaptation, re-attacked"


@pytest.fixture
def page(browser, address):
    yield from opened(browser, address)
    assert browser.execute_script("return document.images.length") == 0


@pytest.fixture
def pictures(browser, illustrated):
    yield from opened(browser, illustrated)


def find(page, selector):
    return page.find_elements("css selector", selector)


def names(page, section=1):
    """Defenses in the rows that are seen, in order."""
    selector = f"section:nth-of-type({section}) tbody[data-threat] tr.row .open"
    return [element.text for element in find(page, selector) if element.is_displayed()]


def choose(page, name, value):
    page.execute_script(
        "const s = document.querySelector(`[name=${arguments[0]}]`); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))", name, value,
    )  # fmt: skip


def columns(page, *keys):
    """Choose these columns, and no others beside rank, defense and robust@K."""
    page.execute_script(
        "for (const box of document.querySelectorAll('[name=column]'))"
        "  box.checked = arguments[0].includes(box.value);"
        "const box = document.querySelector('[name=column]');"
        "box.dispatchEvent(new Event('input', {bubbles: true}))",
        keys,
    )


def heading(page, label):
    (found,) = (x for x in find(page, "section:first-of-type .sort") if x.text == label)
    return found


def values(page, css, section=1):
    cells = find(page, f"section:nth-of-type({section}) tbody[data-threat] tr.row {css}")
    return [cell.get_attribute("data-v") for cell in cells if cell.is_displayed()]


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


def test_every_filter_filters(page, records):
    table = board(from_records(records))
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


LOADED = "return [...document.images].map(i => [i.complete && i.naturalWidth, i.checkVisibility()])"


def test_a_row_opens_to_its_pictures(pictures):
    images = pictures.execute_script("return document.images.length")
    assert images == 3 * 3 * 3  # rows, families, strips
    assert not any(visible for _, visible in pictures.execute_script(LOADED))
    button = find(pictures, ".open")[0]
    button.click()
    detail = pictures.find_element("id", button.get_attribute("aria-controls"))
    for image in detail.find_elements("css selector", "img"):
        pictures.execute_script("arguments[0].scrollIntoView()", image)
    WebDriverWait(pictures, 5).until(
        lambda page: sum(width == 4 * 8 for width, seen in page.execute_script(LOADED) if seen) == 9
    )
    assert {"right", "wrong"} <= {cell.text for cell in find(detail, ".shot td")}
    (scaled,) = {image.value_of_css_property("image-rendering") for image in find(detail, "img")}
    assert scaled == "pixelated"
    named = {image.get_attribute("alt") for image in find(detail, "img")}
    assert named == {"4 images, clean", "4 images, stored", "4 images, made again"}


@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_pictures_stay_on_the_sheet(pictures, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    pictures.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    find(pictures, ".open")[0].click()
    assert pictures.execute_script("return document.documentElement.scrollWidth") <= width
    for table in find(pictures, ".shot"):
        if table.is_displayed():
            assert table.rect["x"] + table.rect["width"] <= width
            strip, words = find(table, "img")[0].rect, find(table, "td.y, td.n")[:4]
            assert strip["width"] == pytest.approx(sum(td.rect["width"] for td in words), abs=3)
            assert strip["x"] == pytest.approx(words[0].rect["x"], abs=1)


def test_the_theme_is_the_systems_until_it_is_chosen(page):
    def colours():
        body = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        return [sum(map(int, c[4:-1].split(","))) for c in page.execute_script(body)]

    def system(value):
        features = [{"name": "prefers-color-scheme", "value": value}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    system("dark")
    back, ink = colours()
    assert back < 150 < 600 < ink
    system("light")
    back, ink = colours()
    assert ink < 150 < 600 < back
    find(page, "#theme")[0].click()
    assert colours()[0] < 150
    assert find(page, "#theme")[0].get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_nothing_but_tables_scrolls_sideways(page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    next(b for b in find(page, ".open") if b.is_displayed()).click()
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [400, 1000, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_an_audit_fits_and_asks_for_nothing(browser, tmp_path, width, scheme):
    path = write_page(rich_audit(record(defense=EVIL)), tmp_path / "audit.html")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": feature})
    browser.get_log("performance")
    browser.get(path.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ink = browser.execute_script("return getComputedStyle(document.body).color")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert ink == {"light": "rgb(28, 31, 35)", "dark": "rgb(230, 232, 234)"}[scheme]
    assert browser.get_log("browser") == [] and browser.title.endswith(": broken")
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in sent if m["method"].endswith("WillBeSent")}
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
    names = [element.text for element in find(browser, ".flag h3")]
    assert names == ["zero gradients broken", "randomised doubtful", "part failed doubtful"]


def test_the_page_prints_on_a_landscape_sheet(page):
    size = {"width": 1047, "height": 718, "deviceScaleFactor": 1, "mobile": False}  # A4 - 10 mm
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    next(b for b in find(page, ".open") if b.is_displayed()).click()
    assert page.execute_script("return document.documentElement.scrollWidth") <= size["width"]
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    ink = page.execute_script("return getComputedStyle(document.body).color")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert (paper, ink) == ("rgb(255, 255, 255)", "rgb(28, 31, 35)")


def test_names_for_assistive_technology(page):
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        n for n in tree if n.get("role", {}).get("value") in ("button", "combobox", "searchbox")
    ]
    assert len(named) > 10
    assert all(node["name"]["value"] for node in named)
    assert all(find(table, "caption")[0].text for table in find(page, "table.board"))
