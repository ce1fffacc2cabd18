"""Damage to files, by chance but the same each time: to their bytes, and to what the bytes say."""

from __future__ import annotations

import json
import struct
from random import Random

from benchmark.results.weights import read_weights, write_weights


def bytes_changed(content: bytes, rng: Random) -> bytes:
    """One accident of the kinds that disks, networks, editors and programs have."""
    kind = rng.choice(BYTES)
    return kind(bytearray(content), rng)


def _flips(content, rng):
    for _ in range(rng.choice((1, 1, 2, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _span(content, rng):
    begin = rng.randrange(len(content))
    return begin, min(len(content), begin + rng.choice((1, 2, 8, 64, 512)))


def _truncated(content, rng):
    return bytes(content[: rng.randrange(len(content))])


def _inserted(content, rng):
    begin, _ = _span(content, rng)
    return bytes(content[:begin] + rng.randbytes(rng.choice((1, 3, 40))) + content[begin:])


def _removed(content, rng):
    begin, end = _span(content, rng)
    return bytes(content[:begin] + content[end:])


def _doubled(content, rng):
    begin, end = _span(content, rng)
    return bytes(content[:end] + content[begin:end] + content[end:])


def _spliced(content, rng):
    begin, end = _span(content, rng)
    other = rng.randrange(len(content))
    part = content[other : other + end - begin]
    return bytes(content[:begin] + part + content[begin + len(part) :])


def _zeroed(content, rng):
    begin, end = _span(content, rng)
    content[begin:end] = bytes(end - begin)
    return bytes(content)


def _digit(content, rng):
    """A digit becomes another: what is most likely still to parse."""
    places = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    content[rng.choice(places)] = rng.choice(b"0123456789")
    return bytes(content)


def _appended(content, rng):
    return bytes(content + content[: rng.randrange(1, len(content))])


BYTES = (
    _flips, _truncated, _inserted, _removed, _doubled, _spliced, _zeroed, _digit, _appended,
)  # fmt: skip


def json_changed(content: bytes, rng: Random) -> bytes:
    """The same file, in which one thing is said otherwise: always JSON."""
    return json.dumps(_changed(json.loads(content), rng)).encode()


def header_changed(content: bytes, rng: Random) -> bytes:
    """A safetensors file whose header says one thing otherwise."""
    (size,) = struct.unpack_from("<Q", content)
    header = json_changed(content[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def _changed(value, rng):
    """A copy in which one leaf, at a random place, is another, missing or there twice."""
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return _renamed(value, key, rng) if rng.random() < 0.1 else _inside(dict(value), key, rng)
    if isinstance(value, list) and value:
        return _inside(list(value), rng.randrange(len(value)), rng)
    return rng.choice([other for other in _others(value, rng) if other != value])


def _renamed(value, key, rng):
    """A key less, or a key under another name."""
    rest = {name: one for name, one in value.items() if name != key}
    return rng.choice((rest, {**rest, f"{key}_": value[key]}))


def _inside(container, key, rng):
    container[key] = _changed(container[key], rng)
    if isinstance(container, list) and rng.random() < 0.2:
        container.append(container[key])
    return container


def _others(value, rng):
    strange = [None, -1, 0, 2**63, 10**400, 1e300, "", "\ud800", [], {}, True, "x" * 200]
    if isinstance(value, str) and value:
        place = rng.randrange(len(value))
        near = value[:place] + rng.choice("AZaz09+/") + value[place + 1 :]
        return [near, near, near, value[:-1], value.upper(), *strange]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value + 1, value + 1, value - 1, value * 2 + 1, str(value), *strange]
    return strange


def flip(path):
    """One bit of a file of tensors."""
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def edit(change):
    """Change what is in a file, and write it as this program would: the hash is right."""

    def edited(path):
        tensors, notes = read_weights(path)
        change(tensors, notes)
        write_weights(path, tensors, notes)

    return edited
