"""Pictures in the leaderboard page: which ones, their pixels and verdicts, and what is left out."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.image import imread
from report_records import folder, matrix, outcome, record, text_of

from benchmark.results.store import record_path, write_record
from benchmark.results.thumbnail import encode
from reports.archive.reference import write_file
from reports.leaderboard import images as board_pictures
from reports.leaderboard.write import write_leaderboard

ATTACKS = ("fgsm", "pgd_linf", "pgd_l2", "square")
BETTER, WORSE = [[1, 1, 0, 1]], [[0, 1, 0, 0]]


def images(number, rows=3):
    """Four images of 8x8 for each row, other ones for each number."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (rows, 4, 1, 8, 8), dtype=np.uint8)


def pictured(path, records):
    """A results folder in which every record has a picture of its own."""
    for number, each in enumerate(records):
        rows = 3 if each.cell.budget.adapts else 2
        write_record(path, each, encode(each, images(number, rows)))
    return path


def page_of(places, out, **more):
    return write_leaderboard(places, out, **more)[0].read_text()


def shown(html):
    """Of each picture of the page its caption, its pixels by strip, and its rows of words."""
    found = []
    for table in re.findall(r'<table class="shot".*?</table>', html, flags=re.DOTALL):
        caption = re.sub("<.*?>", "", re.search(r"<caption>(.*?)</caption>", table)[1])
        strips = [
            np.round(255 * imread(io.BytesIO(base64.b64decode(uri)), "png")).astype(np.uint8)
            for uri in re.findall(r'<img src="data:image/png;base64,([^"]*)"', table)
        ]
        lines = re.findall(r'<tr><th scope="row">(\w+)</th>((?:<td class="[yn]">\w+</td>)+)', table)
        words = [(who, re.findall(r">(\w+)<", cells)) for who, cells in lines]
        found.append((caption, strips, words))
    return found


def said(verdicts):
    return ["right" if right else "wrong" for right in verdicts[0]]


def test_a_picture_shows_its_pixels_and_the_verdicts_of_its_record(tmp_path):
    result = outcome(BETTER, [[1, 1, 1, 0]], WORSE, clean=[[0, 1, 1, 1]])
    html = page_of([pictured(tmp_path / "r", [record(result=result)])], tmp_path / "out")
    ((caption, strips, words),) = shown(html)
    assert caption == "pgd_linf linf-gradient, linf 0.15"
    for strip, row in zip(strips, images(0)[:, :, 0], strict=True):
        assert np.array_equal(strip, np.concatenate(list(row), axis=1))
    assert words == [
        ("trained", ["right"] * 4), ("adapted", said([[0, 1, 1, 1]])),
        ("trained", said(BETTER)), ("adapted", said([[1, 1, 1, 0]])), ("adapted", said(WORSE)),
    ]  # fmt: skip


def test_a_model_that_does_not_adapt_is_asked_about_two_strips(tmp_path):
    result = outcome(WORSE, WORSE, WORSE)
    made = record(shots=0, result=result)
    ((_, strips, words),) = shown(page_of([pictured(tmp_path / "r", [made])], tmp_path / "out"))
    assert len(strips) == 2
    assert words == [("trained", ["right"] * 4), ("trained", said(WORSE))]


def test_each_family_shows_its_worst_attack_and_the_worst_family_is_first(tmp_path):
    good, bad = outcome(BETTER, BETTER, BETTER), outcome(BETTER, BETTER, WORSE)
    records = [
        record("fgsm", result=good), record("pgd_linf", result=bad),
        record("pgd_l2", result=good), record("cw", result=bad, seed=1),
        record("pgd_l2", shots=0, result=outcome(WORSE, WORSE, WORSE)),
        record("square", result=outcome([[0] * 4], [[0] * 4], [[0] * 4])),
        record("fgsm", shots=1, result=bad),
    ]  # fmt: skip
    html = page_of([pictured(tmp_path / "r", records)], tmp_path / "out")
    assert [caption.split()[0] for caption, *_ in shown(html)] == ["square", "pgd_linf", "pgd_l2"]
    assert np.array_equal(shown(html)[1][1][0], np.concatenate(list(images(1)[0, :, 0]), axis=1))


def test_an_attack_shown_another_is_no_picture_of_its_row(tmp_path):
    other = record("square")
    cell = other.cell.model_copy(update={"shown": ("pgd_linf",)})
    records = [
        record("pgd_linf"),
        other.model_copy(update={"cell": cell, "families_shown": ["linf-gradient"]}),
    ]
    html = page_of([pictured(tmp_path / "r", records)], tmp_path / "out")
    assert [caption.split()[0] for caption, *_ in shown(html)] == ["pgd_linf"]


def test_records_without_pictures_give_a_row_without(tmp_path):
    small = matrix(attacks=ATTACKS, shots=(0, 5), n=60)
    plain = page_of([folder(tmp_path / "r", small)], tmp_path / "a")
    packed = page_of([write_file(small, tmp_path / "x.records.gz")], tmp_path / "b")
    for html in (plain, packed):
        assert "<img" not in html
        assert "left out" not in html
        assert html.count('class="opened"') == 3
    whole = page_of([pictured(tmp_path / "r", small)], tmp_path / "c")
    assert len(shown(whole)) == 3 * 3
    for path in (tmp_path / "r").rglob("pgd_at/**/*.png"):
        path.unlink()
    some = page_of([tmp_path / "r"], tmp_path / "d")
    assert len(shown(some)) == 2 * 3
    assert "left out" not in some


HOSTILE = [b"<script>alert(1)</script>", b"", b"GIF89a", bytes(10_000_000), b"\x89PNG\r\n\x1a\n"]


@pytest.mark.parametrize("content", HOSTILE, ids=range(5))
def test_what_is_no_picture_is_left_out_with_a_line(tmp_path, content):
    records = [record("pgd_l2"), record("pgd_linf")]
    place = pictured(tmp_path / "r", records)
    path = record_path(place, records[0].cell).with_suffix(".png")
    path.write_bytes(content)
    html = page_of([place], tmp_path / "out")
    assert [caption.split()[0] for caption, *_ in shown(html)] == ["pgd_linf"]
    assert (
        len(re.findall(r"<li>picture left out: [^<]*pgd_l2[^<]*another file: [^<]*</li>", html))
        == 1
    )
    assert "alert(1)" not in html
    assert base64.b64encode(content[:30]).decode() not in html or not content


def test_a_picture_of_another_record_is_left_out(tmp_path):
    place = pictured(tmp_path / "r", [record()])
    write = text_of(record(result=outcome(BETTER, BETTER, BETTER)))
    record_path(place, record().cell).write_text(write)
    html = page_of([place], tmp_path / "out")
    assert not shown(html)
    assert "it belongs to other verdicts" in html


def test_nothing_of_the_file_but_pixels_gets_into_the_page(tmp_path):
    place = pictured(tmp_path / "r", [record()])
    (path,) = place.rglob("*.png")
    html = page_of([place], tmp_path / "out")
    assert base64.b64encode(path.read_bytes()).decode()[:60] not in html
    assert base64.b64encode(b"reattack").decode()[:-2] not in html


def test_a_long_page_shows_every_row_something_before_any_row_more(tmp_path, monkeypatch):
    small = matrix(attacks=ATTACKS, shots=(0, 5), n=60)
    place = pictured(tmp_path / "r", small)
    monkeypatch.setattr(board_pictures, "ROOM", 3500)
    html = page_of([place], tmp_path / "out")
    rows = html.split('class="opened"')[1:]
    each = [len(shown(row)) for row in rows]
    assert min(each) >= 1
    assert max(each) - min(each) <= 1
    assert sum(each) < 9
    notes = [int(n) for n in re.findall(r"pictures of (\d) more families: left out", html)]
    assert sum(notes) == 9 - sum(each)
    monkeypatch.setattr(board_pictures, "ROOM", 10**6)
    assert len(shown(page_of([place], tmp_path / "out"))) == 9
