"""How many verdicts of an attack change where nothing should: its noise.

A verdict is a fresh prediction on what an attack found, and what it found hangs on roundings: near
its boundary an image may be broken in batches of one size and stand in those of another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmark.audit.evidence import half_width, more_than, table
from benchmark.audit.subject import Subject
from benchmark.core.streams import Streams
from benchmark.evaluation.batch_size import pieces
from benchmark.evaluation.verdicts import survives
from benchmark.results.audits import Checked
from benchmark.results.flags import Flag

ATTACKS = ("pgd_linf", "aa_apgd_ce", "aa_square[queries=500]")
"""Whose verdicts are asked for again: by image, so that company changes roundings alone."""
ROUNDED = 0.01
"""Share of verdicts that roundings may flip [T]; of 500 of a robust network, 4 were seen."""
PARTS = 3
"""The batches of another size: so many of all images."""


def verdict_noise(subject: Subject) -> Checked:
    """Share of verdicts that flip with batch size, threads and the attack's seed, for each attack.

    Attacks with each of `ATTACKS` four times; a model without a gradient with those that need none.
    """
    if subject.randomised:
        return Checked(skipped="the model answers at random: verdicts are noise already")
    flags: list[Flag] = []
    numbers: dict[str, float | None] = {}
    for text in ATTACKS:
        if subject.attack(text).needs_gradient and not subject.trained.gradient:
            continue
        usual = subject.stands(text)
        for cause, others in asked_again(subject, text).items():
            flips = None if others is None else int((others != usual).sum())
            numbers[f"{text}: {cause}"] = None if flips is None else flips / len(usual)
            if flips is not None:
                flags += judged(text, cause, flips, usual)
    return Checked(flags=flags, numbers=numbers)


def judged(text: str, cause: str, flips: int, usual: Tensor) -> list[Flag]:
    """A flag where more verdicts flip than rounding explains, or than the interval says.

    Args:
        text: the attack.
        cause: what was changed: `batch size`, `threads` or `seed`.
        flips: verdicts that are others then.
        usual: those of before, bool (n,).
    """
    share, n = flips / len(usual), len(usual)
    most = half_width(table(usual)) if cause == "seed" else ROUNDED
    if not more_than(flips, n, most):
        return []
    message = f"{flips} of {n} verdicts of {text} flip with another {cause}"
    return [Flag(code="verdict noise", message=message, value=share, threshold=most)]


def asked_again(subject: Subject, text: str) -> dict[str, Tensor | None]:
    """Verdicts under an attack, bool (n,), by what was changed; None where nothing can be.

    In a process of one thread only the first attack meets two: on a busy machine, where they wait
    for each other, small networks take twenty times as long.
    """
    images, rng = subject.batch.images, subject.streams(text)
    everyone = [torch.arange(len(images), device=images.device)]
    smaller = list(pieces(images, -(-len(images) // PARTS)))
    threaded = None
    if images.device.type == "cpu" and (text == ATTACKS[0] or torch.get_num_threads() > 1):
        with other_threads():
            threaded = _verdicts(subject, text, everyone, rng)
    return {
        "batch size": _verdicts(subject, text, smaller, rng) if len(smaller) > 1 else None,
        "threads": threaded,
        "seed": _verdicts(subject, text, everyone, subject.streams(text, "other seed")),
    }


def _verdicts(subject: Subject, text: str, parts: list[Tensor], rng: Streams) -> Tensor:
    attack = subject.attack(text)
    held = [
        survives(attack, subject.model, subject.batch.take(rows), subject.meter, rng.take(rows))[0]
        for rows in parts
    ]
    return torch.cat(held)


@contextmanager
def other_threads() -> Iterator[None]:
    """Another number of threads of torch inside an operation: 2 for 1, else 1."""
    before = torch.get_num_threads()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
