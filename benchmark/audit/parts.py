"""The parts of a full audit, in the order in which they run: the cheap ones first."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.audit.binarisation import binarisation
from benchmark.audit.bypass import bypass
from benchmark.audit.curves import curves
from benchmark.audit.indicators import indicators
from benchmark.audit.model import model
from benchmark.audit.randomness import randomness
from benchmark.audit.sanity import sanity, transfer
from benchmark.audit.subject import Subject
from benchmark.audit.verdict_noise import verdict_noise
from benchmark.results.audits import Checked

Part = Callable[[Subject], Checked]
"""Looks at one side of a model; what it attacks with is in its docstring."""

PARTS: dict[str, Part] = {
    "model": model,
    "indicators": indicators,
    "curves": curves,
    "sanity": sanity,
    "transfer": transfer,
    "bypass": bypass,
    "randomness": randomness,
    "verdict noise": verdict_noise,
    "binarisation": binarisation,
}
"""By name: what a record calls them."""
