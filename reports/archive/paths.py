"""Texts without folders: sentences, names of components and commands, as others may see them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache

from benchmark.core.errors import UsageError
from benchmark.core.specs import Spec, split

PLACE = "DIR"
"""Stands for a folder, and for whatever may be one."""
PLACES = frozenset(
    f"--{name}"
    for name in (
        "results", "data-dir", "cache", "tuned", "address", "out", "baseline", "junit", "perf",
        "submission",
    )
)  # fmt: skip
"""Flags whose values are places."""
_ROOT = r"(?:file:/*|~[\w.-]*|\$\{?\w+\}?|%\w+%|\.\.?|(?<!\w)[A-Za-z]:)?"
_START = rf"(?<![\w<])(?:{_ROOT}/|{_ROOT}(?<=[~}}%.:\w])\\|\\\\)(?=[^\s/\\])"
_PATHS = re.compile(
    r"(?P<url>https?://\S+)"
    rf"|(?P<quote>['\"]){_START}(?P<quoted>[^\n]{{0,4096}}?)(?P=quote)(?=[\s,.:;)\]]|$)"
    rf"|{_START}(?:(?:(?!: |, | \(| {_ROOT}/)[^\n]){{0,4096}}[/\\])?(?P<open>[^\s,;\])]*)"
    r"|(?<![\w./\\])(?:[\w~-][\w.~-]*[/\\])+(?P<near>[\w.-]+\.[A-Za-z]\w{0,10}\b\S*)"
)
"""Paths in a sentence: in quotes; from a root to the last separator of a clause; to a file."""
_FILE = re.compile(r"[^/\\]*\.[A-Za-z]\w{0,10}(?![\w/\\.])[^/\\]*")
_FRACTION = re.compile(r"[\d.eE+-]+/[\d.eE+-]+")


@cache
def bare(text: str) -> str:
    r"""A sentence in which paths are names of files, and DIR where they may be folders.

    >>> bare("cannot read /home/me/My Models/net.pt: no such file")
    'cannot read net.pt: no such file'
    >>> bare(r'File "C:\Users\me\attack.py", line 3; eps=8/255, ~/data')
    'File "attack.py", line 3; eps=8/255, DIR'
    """
    return _PATHS.sub(_named, text) if "/" in text or "\\" in text else text


def _named(found: re.Match[str]) -> str:
    if found["url"]:
        return found["url"]
    if found["quote"]:
        return f"{found['quote']}{_last(found['quoted'])}{found['quote']}"
    return found["near"] or _last(found["open"])


def _last(path: str) -> str:
    """The file's name; DIR for what has no ending, since it may be a folder."""
    name = re.split(r"[/\\]", path)[-1]
    return name if _FILE.fullmatch(name) else PLACE


@cache
def label(text: str) -> str:
    """The name of a defense or an attack whose options name files without their folders.

    >>> label("pgd_at[start=checkpoint[path=/home/me/a b/net.pt],eps=8/255]")
    'pgd_at[eps=8/255,start=checkpoint[path=net.pt]]'
    """
    if "/" not in text and "\\" not in text and "~" not in text:
        return text
    try:
        spec = Spec.parse(text)
    except UsageError:
        return bare(text)
    options = sorted((key, option(key, value)) for key, value in spec.options)
    file, colon, name = spec.name.rpartition(":")
    of_file = f"{_last(file)}:{name}" if colon and file.endswith(".py") else bare(spec.name)
    return str(Spec(of_file, tuple(options)))


def option(key: str, value: str) -> str:
    """An option's value: a number, a component with options of its own, or names of files."""
    if _FRACTION.fullmatch(value) or not re.search(r"[/\\~]", value):
        return value
    if value.endswith("]"):
        return label(value)
    if key in ("path", "file"):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return "+".join(
        _last(part) if re.search(r"[/\\~]", part) else part for part in value.split("+")
    )


def command(text: str) -> str:
    """A command that says DIR for folders and addresses, and files without theirs."""
    try:
        return shlex.join(_list(word) if known else word for word, known in _said(text))
    except ValueError:
        return bare(text)


def _said(text: str) -> Iterator[tuple[str, bool]]:
    """The words of a command, places as DIR; whether each may name files still."""
    before = ""
    for word in shlex.split(text):
        flag, equals, value = word.partition("=")
        if before in PLACES:
            yield PLACE, False
        elif equals and flag in PLACES:
            yield from ((flag, False), (PLACE, False))
        elif equals and flag.startswith("--"):
            yield f"{flag}={_list(value)}", False
        else:
            yield word, True
        before = word


def places(text: str) -> Iterator[str]:
    """The folders and files that a command names."""
    try:
        words = shlex.split(text)
    except ValueError:
        return
    for before, word in zip(["", *words], words, strict=False):
        flag, _, value = word.partition("=")
        if before in PLACES or flag in PLACES:
            yield word if before in PLACES else value


def _list(text: str) -> str:
    return ",".join(map(label, split(text))) if "/" in text or "\\" in text else text


def without(text: str, known: tuple[str, ...]) -> str:
    """The text with the names of known places alone, whatever letters these are made of."""
    for place in known:
        text = text.replace(place, _last(place))
    return text
