"""Names with options in brackets: `pgd_linf[eps=8/255,steps=40]`; an option may be such a name.

What is quoted, with ' or ", is taken as it is: `checkpoint[path="a, b.pt"]`.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from benchmark.core.errors import UsageError, unknown

_SPEC = re.compile(r"^(?P<name>[^\[\]]+?)(\[(?P<options>.*)\])?$", re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """A component as the user wrote it: its name and the options given, still as text."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read `name` or `name[key=value,...]`; options are sorted: equal specs compare equal."""
        match = _SPEC.match(text.strip())
        if match is None or not _is_balanced(match["options"] or ""):
            raise UsageError(f"cannot read {text!r}; expected name or name[option=value,...]")
        options: dict[str, str] = {}
        for part in split(match["options"] or ""):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not (key and equals and value):
                raise UsageError(f"cannot read option {part!r} in {text!r}; expected option=value")
            if key in options:
                raise UsageError(f"option {key!r} is given twice in {text!r}; keep one")
            options[key] = unquoted(value)
        return cls(unquoted(match["name"].strip()), tuple(sorted(options.items())))

    def __str__(self) -> str:
        inside = ",".join(f"{key}={quoted(value)}" for key, value in self.options)
        return f"{quoted(self.name)}[{inside}]" if inside else quoted(self.name)


def label_of(text: str) -> str:
    """The name of a thing of the user's in tables and records: no folder, so it may lie anywhere.

    >>> label_of("folder:/data/xrays"), label_of("npz:a/b.npz[group=track]"), label_of("a/m.py:D")
    ('folder:xrays', 'npz:b.npz[group=track]', 'm.py:D')
    """
    spec = Spec.parse(text)
    kind, colon, where = spec.name.rpartition(":")
    if kind.endswith(".py"):
        return str(Spec(f"{Path(kind).name}:{where}", spec.options))
    kind, colon, where = spec.name.partition(":")
    of_hub = kind == "hf" and not Path(where).expanduser().is_dir()
    name = where if of_hub or not colon else Path(where).expanduser().resolve().name
    return str(Spec(f"{kind}{colon}{name}", spec.options))


def quoted(text: str) -> str:
    """`text`, in quotes where it would be read as something else without them.

    >>> quoted("a,b.pt"), quoted("pgd_at[epochs=2]")
    ("'a,b.pt'", 'pgd_at[epochs=2]')
    """
    if split(text) == [text] and _is_balanced(text) and unquoted(text) == text:
        return text
    mark = '"' if "'" in text else "'"
    return f"{mark}{text}{mark}"


def unquoted(text: str) -> str:
    """`text` without the quotes around the whole of it."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted else text


def split(text: str) -> list[str]:
    """Split a comma-separated list, leaving commas inside brackets or quotes alone.

    >>> split("fgsm, pgd_linf[eps=0.1,steps=40]")
    ['fgsm', 'pgd_linf[eps=0.1,steps=40]']
    """
    parts, depth = [""], 0
    for letter, is_quoted in zip(text, _quoted(text), strict=True):
        if not is_quoted:
            depth += (letter == "[") - (letter == "]")
        if letter == "," and depth <= 0 and not is_quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _quoted(text: str) -> list[bool]:
    """Which letters stand between quotes, or are quotes; one that is never closed is none."""
    found, place = [False] * len(text), 0
    while place < len(text):
        begins = text[place] in "'\"" and (place == 0 or text[place - 1] in "=,[ ")
        end = text.find(text[place], place + 1) if begins else -1
        if end > 0:
            found[place : end + 1] = [True] * (end + 1 - place)
        place = max(place, end) + 1
    return found


def _is_balanced(text: str) -> bool:
    letters = zip(text, _quoted(text), strict=True)
    depths = [
        *accumulate((one == "[") - (one == "]") for one, is_quoted in letters if not is_quoted)
    ]
    return not depths or (min(depths) >= 0 and depths[-1] == 0)


def number(text: str) -> float:
    """A finite float, or a fraction such as `8/255`; ValueError otherwise."""
    top, slash, bottom = text.partition("/")
    value = float(top) / float(bottom) if slash else float(top)
    if not math.isfinite(value):
        raise ValueError("a finite number is needed")
    return value


def coerce(text: str, kind: Any) -> Any:
    """Turn an option's text into the type its field is annotated with; ValueError if it cannot."""
    if get_origin(kind) in (Union, types.UnionType):
        if text.lower() == "none" and type(None) in get_args(kind):
            return None
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError("not one of them")
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    if kind is float:
        return number(text)
    return kind(text)


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    return getattr(hint, "__name__", str(hint))


def added(default: Any) -> Any:
    """An option that came after a component was released: by default it changes nothing.

    Hence it is no part of the component's identity then, and what was made before stays true.
    """
    return field(default=default, metadata={"added": True})


def dropped(value: Any) -> Any:
    """An option there was, at the only value that is left: what was made with it stands."""
    return field(default=value, init=False)


def options_of(component: type) -> dict[str, Field[Any]]:
    """The options of a component: the fields its constructor takes, by name."""
    return {field.name: field for field in fields(component) if field.init}


@cache
def _hints(component: type) -> dict[str, Any]:
    """Types of the fields; slow to find, since annotations are text that is evaluated."""
    return get_type_hints(component)


def check_numbers(component: Any, least: int) -> None:
    """Raise UsageError for an option that is an int below `least`, or a float < 0 or not finite."""
    for name in options_of(type(component)):
        value = getattr(component, name)
        low = least if type(value) is int else 0  # a bool is no number of anything
        if isinstance(value, int | float) and not low <= value < math.inf:
            raise UsageError(f"{component.name}[{name}={value}]: expected at least {low}")


def build(component: type, spec: Spec, defaults: Mapping[str, Any]) -> Any:
    """Make a component from a spec: options given, then `defaults`, then the class's own defaults.

    Raises:
        UsageError: an unknown option, a value of the wrong kind, or a required option nobody gave.
    """
    allowed = options_of(component)
    hints = _hints(component) if spec.options else {}
    arguments = {key: value for key, value in defaults.items() if key in allowed}
    for key, text in spec.options:
        if key not in allowed:
            raise unknown(f"option of {spec.name}", key, allowed)
        try:
            arguments[key] = coerce(text, hints[key])
        except (ValueError, ZeroDivisionError) as error:
            expected = _kind(hints[key])
            raise UsageError(
                f"{spec.name}[{key}={text}]: expected {expected}, got {text!r} ({error})"
            ) from None
    missing = [
        key
        for key, field in allowed.items()
        if key not in arguments and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise UsageError(
            f"{spec.name} needs {', '.join(missing)}: nothing sets it for this data set; "
            f"write {spec.name}[{missing[0]}=VALUE]"
        )
    return component(**arguments)
