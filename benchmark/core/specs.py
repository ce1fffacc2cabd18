"""Names with options in brackets: `pgd_linf[eps=8/255,steps=40]`; an option may be such a name."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from itertools import accumulate
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
            options[key] = value
        return cls(match["name"].strip(), tuple(sorted(options.items())))

    def __str__(self) -> str:
        inside = ",".join(f"{key}={value}" for key, value in self.options)
        return f"{self.name}[{inside}]" if inside else self.name


def split(text: str) -> list[str]:
    """Split a comma-separated list, leaving commas inside brackets alone.

    >>> split("fgsm, pgd_linf[eps=0.1,steps=40]")
    ['fgsm', 'pgd_linf[eps=0.1,steps=40]']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _is_balanced(text: str) -> bool:
    depths = [*accumulate((letter == "[") - (letter == "]") for letter in text)]
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
