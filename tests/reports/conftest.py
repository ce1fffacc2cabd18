"""A real browser and a leaderboard page to drive; skips where there is no chromium or selenium."""

import shutil

import pytest
from board_browser import EVIL, opened
from report_records import ATTACKS, folder, matrix, record, without

from reports.leaderboard.write import write_leaderboard

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the extra `browser`")
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium with its driver")
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def holed():
    """Records with a hole in one row, two ways to adapt, and a second data set of a hostile one."""
    found = matrix(attacks=ATTACKS, shots=(0, 1, 5), n=60, methods=("finetune", "head"))
    found = without(found, "standard", "pgd_l2", 5)
    found += matrix((EVIL, "pgd_at"), ATTACKS[:2], (0, 10), n=40, dataset="mnist")
    return [*found, record("pgd_l2", "standard", 5, status="failed", reason=EVIL)]


@pytest.fixture(scope="session")
def address(holed, tmp_path_factory):
    root = tmp_path_factory.mktemp("board")
    return write_leaderboard([folder(root / "r", holed)], root / "out")[0].as_uri()


@pytest.fixture
def page(browser, address):
    yield from opened(browser, address)
    assert browser.execute_script("return document.images.length") == 0
