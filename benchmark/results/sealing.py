"""JSON that is believed only if it is what was written: read strictly, bound to its own hash.

The hash is over the content as it lies in the file, not over what a version makes of it: a record
of an earlier version, which lacks a field of today, is still whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

KEY = "content"
"""Under which an object carries the hash of everything else in it."""
DIGITS = 19
"""Of a whole number, at most: 2^63 has as many."""
_LONG = re.compile(rf"[0-9]{{{DIGITS + 1}}}")  # looked for first: most texts have none


def parse(raw: bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or has numbers beyond 64 bits or half a character in it.
        RecursionError: it is deeper than anything that is written here.
    """
    text = raw.decode()
    content = json.loads(text, parse_int=_whole) if _LONG.search(text) else json.loads(text)
    if "\\ud" in text or "\\uD" in text:
        json.dumps(content, ensure_ascii=False).encode()
    return content


def digest(content: object) -> str:
    """32 hexadecimal digits over JSON as such: neither spaces nor the order of keys count.

    Raises:
        ValueError: there is a number that is not finite, or half a character.
    """
    text = json.dumps(
        content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """An object with its hash in it."""
    bare = {name: value for name, value in content.items() if name != KEY}
    return {**bare, KEY: digest(bare)}


def opened(content: dict[str, Any]) -> dict[str, Any]:
    """An object without its hash; ValueError if that is of another content, or not there."""
    bare = {name: value for name, value in content.items() if name != KEY}
    found = digest(bare)
    if KEY not in content:
        raise ValueError("it lacks the hash of its content")
    if content[KEY] != found:
        raise ValueError("it is not what was written: its hash is of another content")
    return bare


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
