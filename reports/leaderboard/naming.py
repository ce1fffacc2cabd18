"""What a defense is called where people read: a title, and in words what tells its variants apart.

The name in tables of files stays the one that `run` takes: nothing here is part of identity.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.core.schema import About
from benchmark.core.specs import Spec
from reports.tidy.escape import visible
from reports.tidy.leave_one_out import told_apart
from reports.tidy.training_cost import in_short

Known = Callable[[str], About]
"""What is known of a defense by its name in tables: for records that do not say."""
_MARK = re.compile(r"@[0-9a-f]{8}$")
"""Of one of several models under one name (`reports.archive.shareable.names`)."""
SAFE = re.compile(r"https?://[^\s<>\"'\\]+")


def nobody(_: str) -> About:
    """For tables of defenses that nobody here knows."""
    return About()


class Naming(NamedTuple):
    """How a defense is shown. Texts are raw, one line each."""

    title: str
    variant: str
    """In words; empty where the title says all."""
    about: About

    @property
    def name(self) -> str:
        """Both in one."""
        return f"{self.title} ({self.variant})" if self.variant else self.title

    @property
    def link(self) -> str:
        """Of its paper; empty where that is no address of the web."""
        return self.about.link if SAFE.fullmatch(self.about.link) else ""

    @property
    def source(self) -> str:
        """Authors and year, in short."""
        first, *others = [part.strip() for part in self.about.authors.split(",")]
        authors = (
            f"{first} et al." if len(others) > 1 else " & ".join(filter(None, (first, *others)))
        )
        return " ".join(filter(None, (authors, str(self.about.year or ""))))


def namings(frame: pd.DataFrame, known: Known = nobody) -> dict[str, Naming]:
    """By the names in the column `defense` of the tidy frame; no two are shown alike.

    What is registered here is called as it calls itself, whatever a record of others says: only a
    label is taken from there.
    """
    said: dict[str, About] = {}
    for name, about in zip(frame["defense"], frame["about"], strict=True):
        if about != About() or name not in said:
            said[name] = about
    found = {name: _naming(name, said[name], known, short) for name, short in _short(said).items()}
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name, naming in found.items():
        alike[visible(naming.name).casefold()].append(name)
    return {
        name: naming if len(alike[visible(naming.name).casefold()]) == 1
        else naming._replace(variant=name)
        for name, naming in found.items()
    }  # fmt: skip


def short_names(found: Mapping[str, Naming]) -> dict[str, str]:
    """For plots: the title alone where it says which; no two are alike."""
    titles = Counter(visible(naming.title).casefold() for naming in found.values())
    return {
        name: naming.title if titles[visible(naming.title).casefold()] == 1 else naming.name
        for name, naming in found.items()
    }


def titles(names: Sequence[str], known: Known) -> dict[str, str]:
    """For plots without records: `short_names` of what is known of these."""
    frame = pd.DataFrame({"defense": names, "about": [About()] * len(names)})
    return short_names(namings(frame, known))


def tied_names(
    tied: Sequence[tuple[str, str]], network: str, called: Callable[[str], str] = str
) -> list[str]:
    """Of networks and defenses that a row of this network is tied with; another network is said.

    >>> tied_names([("small_cnn", "trades"), ("net.py:Net", "trades")], "small_cnn")
    ['trades', 'trades (net.py:Net)']
    """
    return [called(name) + (f" ({on})" if on != network else "") for on, name in tied]


def _short(said: Mapping[str, About]) -> dict[str, str]:
    """Each name without the options that all of its kind share."""
    return told_apart(said)


def _naming(name: str, said: About, known: Known, short: str) -> Naming:
    about = known(name)
    about = about.model_copy(update={"label": said.label}) if about != About() else said
    if about.label:
        return Naming(about.label, "", about)
    spec = _parsed(short)
    file, colon, object_ = spec.name.rpartition(":")
    title = about.title or (object_ if colon and file.endswith(".py") else spec.name)
    mark = _MARK.search(spec.name) if about.title else None
    words = [_words(spec, known), mark[0] if mark else ""]
    return Naming(title, ", ".join(filter(None, words)), about)


def _words(spec: Spec, known: Known) -> str:
    """Options as people say them.

    >>> _words(Spec.parse("e_at[passes=200000,start=pgd_at[passes=800000]]"), nobody)
    '200k passes, from pgd_at (800k passes)'
    """
    return ", ".join(_word(name, value, known) for name, value in spec.options)


def _word(name: str, value: str, known: Known) -> str:
    if name == "start":
        start = _parsed(value)
        title = known(value).title or start.name
        options = _words(start, known)
        return f"from {title} ({options})" if options else f"from {title}"
    if name in ("passes", "epochs") and value.isdecimal():
        return f"{in_short(int(value))} {name}"
    if name == "how":
        return value
    return f"{name.replace('_', ' ')} {value.replace('+', ' + ')}"


def _parsed(name: str) -> Spec:
    try:
        return Spec.parse(name)
    except UsageError:
        return Spec(name)
