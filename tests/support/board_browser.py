"""The leaderboard page in a real browser: what tests find on it and do to it."""

from __future__ import annotations

import json

EVIL = (
    '"><img src=//example.org/x onerror=document.title="owned"></script><script>alert(1)</script>'
)


def sized(driver, width, height=900):
    """The window, in CSS pixels."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def scheme(driver, value="", media=""):
    """What the system prefers, light or dark, and whether it prints; by default as it was."""
    features = [{"name": "prefers-color-scheme", "value": value}] if value else []
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def requests(driver):
    """The addresses that were asked for since the log was read last."""
    sent = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in sent if m["method"].endswith("WillBeSent")}
    return {url for url in asked if not url.startswith("data:")}


def opened(driver, address):
    """The page, freshly opened; afterwards it has asked for nothing and complained of nothing."""
    sized(driver, 1600)
    driver.get_log("performance")
    driver.get(address)
    yield driver
    assert driver.get_log("browser") == []
    assert requests(driver) == {address}
    loaded = "return performance.getEntriesByType('resource').map(e => e.name)"
    assert all(name.startswith("data:") for name in driver.execute_script(loaded))
    assert driver.title == "Leaderboard: robustness after adaptation, re-attacked"


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


def visible_heads(page):
    heads = find(page, "section:first-of-type thead .sort")
    return [head.text for head in heads if head.is_displayed()]
