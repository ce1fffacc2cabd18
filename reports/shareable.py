"""Records as others may see them: file names without the folders of whoever made them.

What is printed, ranked or sent goes through here once. Verdicts, hashes and numbers stay.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from benchmark.core.cells import Cell
from benchmark.core.errors import UsageError
from benchmark.core.records import Provenance, Record, short_hash
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
    options = sorted((key, _option(key, value)) for key, value in spec.options)
    file, colon, name = spec.name.rpartition(":")
    of_file = f"{_last(file)}:{name}" if colon and file.endswith(".py") else bare(spec.name)
    return str(Spec(of_file, tuple(options)))


def _option(key: str, value: str) -> str:
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
        words = shlex.split(text)
    except ValueError:
        return bare(text)
    said: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if said and said[-1] in PLACES:
            said.append(PLACE)
        elif equals and flag in PLACES:
            said += [flag, PLACE]
        elif equals and flag.startswith("--"):
            said.append(f"{flag}={_list(value)}")
        else:
            said.append(_list(word))
    return shlex.join(said)


def _list(text: str) -> str:
    return ",".join(map(label, split(text))) if "/" in text or "\\" in text else text


def names(records: Iterable[Record]) -> dict[tuple[str, str, str], str]:
    """By data set, network and defense: its `label`, with a hash where two models would share it.

    The hash is of the trained weights, so that it is the same wherever the file lies.
    """
    models: defaultdict[tuple[str, str, str], dict[int, str]] = defaultdict(dict)
    for record in records:
        cell = record.cell
        found = models[cell.dataset, cell.network, cell.defense]
        found.setdefault(cell.seed, record.fingerprint.get("weights", ""))
        found[cell.seed] = found[cell.seed] or record.fingerprint.get("weights", "")
    sharing: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for dataset, network, defense in models:
        sharing[dataset, network, label(defense)].append(defense)
    return {
        (dataset, network, defense): short
        if _same([models[dataset, network, one] for one in defenses])
        else _marked(short, defense, models[dataset, network, defense])
        for (dataset, network, short), defenses in sharing.items()
        for defense in defenses
    }


def _same(models: Sequence[dict[int, str]]) -> bool:
    """Whether all are one model, as far as weights say."""
    known = all(all(model.values()) for model in models)
    return len(models) == 1 or (known and all(model == models[0] for model in models))


def _marked(short: str, defense: str, weights: dict[int, str]) -> str:
    known = sorted(weights.items()) if all(weights.values()) else defense
    mark = f"@{short_hash(known)[:8]}"
    return f"{short[:-1]}{mark}]" if short.endswith("]") else f"{short}{mark}"


def shareable(records: Sequence[Record]) -> list[Record]:
    """The records, in order, with nothing that names a folder of the machine they come from."""
    known = names(records)
    return [
        _shareable(one, known[one.cell.dataset, one.cell.network, one.cell.defense])
        for one in records
    ]


_KEPT = {
    "schema_version", "content", "cell", "provenance", "status", "query", "unseen", "outcome",
    "answers", "cost", "training", "fingerprint",
}  # fmt: skip
"""What says nothing of places, or is looked at by itself."""


def _shareable(record: Record, defense: str) -> Record:
    cell, provenance = record.cell, record.provenance
    return record.model_copy(
        update={name: walked(getattr(record, name)) for name in {*Record.model_fields} - _KEPT} | {
            "cell": Cell.model_validate(walked(cell.model_dump()) | {"defense": defense}),
            "provenance": Provenance.model_validate(walked(provenance.model_dump())),
        }
    )  # fmt: skip


_SAYS: dict[str, Callable[[str], str]] = {
    "command": command, **dict.fromkeys(("defense", "attack", "attacks", "shown"), label),
}  # fmt: skip
"""What some fields hold besides sentences."""


def walked(value: Any, key: str = "", option: bool = False) -> Any:
    """`value` with no folder in any of its texts.

    Args:
        value: JSON.
        key: its name: it says what its texts are.
        option: whether it is an option of a component.
    """
    if isinstance(value, dict):
        inside = option or key.endswith("_options")
        return {
            label(name): one if name in ("dataset", "network") else walked(one, name, inside)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [walked(one, key, option) for one in value]
    if not isinstance(value, str):
        return value
    return _option(key, value) if option else _SAYS.get(key, bare)(value)
