"""What the files of a leaderboard must hold to, whatever names and notes their records bring."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from importlib.resources import files


class Shape(HTMLParser):
    """What a page is built of: tags with their attributes' names, and where text ran as code."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag != "wbr":  # a place where a name may break
            self.tags.append((tag, tuple(name for name, _ in attributes)))
        self.texts += [str(value) for _, value in attributes]

    def handle_data(self, data):
        self.texts.append(data)


def harmless(texts, benign):
    """Page, Markdown, CSV and LaTeX show names as text: the page is built like the benign one."""
    html, md, table, tex = texts
    shape = Shape(html)
    assert sorted(shape.tags) == sorted(Shape(benign).tags)  # rows may change places
    assert [tag for tag, _ in shape.tags].count("script") == 1
    assert (files("reports") / "page" / "board.js").read_text() in html
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", "".join(shape.texts))
    assert not re.search(r"<(?!/?b>)[a-z/]", md)
    for cell in (cell for line in csv.reader(io.StringIO(table)) for cell in line):
        assert not cell.startswith(("=", "@", "\t", "\r", "+1", "-1"))
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    for line in rows:
        assert len(re.findall(r"(?<!\\)&", line)) == len(re.findall(r"(?<!\\)&", rows[0]))
        assert not re.search(r"(?<!\\)[_%#^~]|\\input", line)
    assert all(line.isascii() for line in tex.splitlines())
