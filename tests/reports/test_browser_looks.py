"""How the leaderboard page looks in a real browser: widths, pictures, light, dark and on paper."""

from __future__ import annotations

import pytest
from board_browser import EVIL, find, opened, requests, scheme, sized
from planted_audits import rich_audit
from report_records import ATTACKS, matrix, record
from test_board_pictures import pictured

from reports.audit.page import write_page
from reports.leaderboard.write import write_leaderboard

WebDriverWait = pytest.importorskip(
    "selenium.webdriver.support.ui", reason="needs the extra `browser`"
).WebDriverWait
pytestmark = pytest.mark.extra


@pytest.fixture(scope="module")
def illustrated(tmp_path_factory):
    """A page whose rows open to pictures."""
    root = tmp_path_factory.mktemp("illustrated")
    small = matrix(attacks=ATTACKS, shots=(0, 5), n=60)
    return write_leaderboard([pictured(root / "r", small)], root / "out")[0].as_uri()


@pytest.fixture
def pictures(browser, illustrated):
    yield from opened(browser, illustrated)


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
    sized(pictures, width)
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

    scheme(page, "dark")
    back, ink = colours()
    assert back < 150 < 600 < ink
    scheme(page, "light")
    back, ink = colours()
    assert ink < 150 < 600 < back
    find(page, "#theme")[0].click()
    assert colours()[0] < 150
    assert find(page, "#theme")[0].get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_nothing_but_tables_scrolls_sideways(page, width):
    sized(page, width)
    next(b for b in find(page, ".open") if b.is_displayed()).click()
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [400, 1000, 1600])
@pytest.mark.parametrize(
    ("mode", "expected"), [("light", "rgb(28, 31, 35)"), ("dark", "rgb(230, 232, 234)")]
)
def test_the_page_of_an_audit_fits_and_asks_for_nothing(browser, tmp_path, width, mode, expected):
    path = write_page(rich_audit(record(defense=EVIL)), tmp_path / "audit.html")
    sized(browser, width)
    scheme(browser, mode)
    browser.get_log("performance")
    browser.get(path.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    ink = browser.execute_script("return getComputedStyle(document.body).color")
    scheme(browser)
    assert ink == expected
    assert browser.get_log("browser") == [] and browser.title.endswith(": broken")
    assert requests(browser) == {path.as_uri()}
    named = [element.text for element in find(browser, ".flag h3")]
    assert named == ["zero gradients broken", "randomised doubtful", "part failed doubtful"]


def test_the_page_prints_on_a_landscape_sheet(page):
    sized(page, 1047, 718)  # A4 - 10 mm
    scheme(page, "dark", media="print")
    next(b for b in find(page, ".open") if b.is_displayed()).click()
    assert page.execute_script("return document.documentElement.scrollWidth") <= 1047
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    ink = page.execute_script("return getComputedStyle(document.body).color")
    scheme(page)
    assert (paper, ink) == ("rgb(255, 255, 255)", "rgb(28, 31, 35)")
