"""Which representation explains what was done to pairs: fitted on most, judged on the others."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.threats.local_filter import Filters
from attacks.threats.mask import Masks
from attacks.threats.norms import Norms
from attacks.threats.warp import Warps
from benchmark.core.errors import unknown
from benchmark.core.threats.options import NONE, Amplify
from benchmark.core.threats.sets import Inference, Pairs, RepresentationSet, ThreatSet

FITTED = 0.7
"""Share of the pairs that are fitted."""
NORMS = "norms"
MOST, FEWEST, NUMBERS = 100, 20, 1 << 20
"""Pairs that are looked at: as many as hold so many numbers. The first are of all classes."""
TINY = 1e-10
"""Squared distance of a pair that did not change."""


def representations(numbers: Amplify) -> list[RepresentationSet]:
    """Those that may be used besides the norms, which are always there.

    Raises:
        UsageError: a name nobody knows.
    """
    known: dict[str, RepresentationSet] = {
        one.name: one
        for one in (Warps(numbers.tries), Masks(numbers.places), Filters(numbers.tries))
    }
    if numbers.names in ([NONE], [NORMS]):
        return []
    for name in numbers.names:
        if name not in known:
            raise unknown("representation of amplify", name, [*known, NORMS, NONE])
    return [known[name] for name in dict.fromkeys(numbers.names)]


class Judged(NamedTuple):
    """A representation, what it makes of most pairs, and what that leaves of the others."""

    way: RepresentationSet
    found: ThreatSet | None
    residual: float | None

    @property
    def order(self) -> float:
        """Last is what could not be fitted."""
        return math.inf if self.residual is None else self.residual


@torch.no_grad()
def infer(numbers: Amplify, pairs: Pairs) -> Inference:
    """The set that explains the pairs: the smallest residual if it is small, else norms.

    Raises:
        UsageError: the pairs do not match, or a representation that nobody knows.
    """
    pairs.check()
    available, changed = representations(numbers), changed_pairs(pairs)
    count = len(changed.originals)
    if not numbers.infers or not count:
        return Inference("", None, {one.name: None for one in available}, count, 0.0, True)
    rest, held = halves(changed)
    judged = sorted((judge(one, rest, held) for one in available), key=lambda one: one.order)
    residuals = {one.way.name: one.residual for one in judged}
    if judged and judged[0].found and judged[0].order < numbers.fits:
        way, found = judged[0].way, judged[0].found
        whole = way.fit(changed)  # all of them tell more, unless the fit goes astray
        left = residual_of(whole, held) if whole else None
        if whole is not None and left is not None and left < numbers.fits:
            found = whole
        made = found.nearest(changed)
        if in_order(changed, made):
            return Inference(way.name, found, residuals, count, clipped(made), True)
    norms = Norms(numbers.ascent, numbers.quantile).fit(changed)
    return Inference(NORMS, norms, residuals, count, 0.0, in_order(changed, changed.originals))


def looked_at(images: Tensor) -> slice:
    """The first as many as are looked at."""
    return slice(max(FEWEST, min(MOST, NUMBERS // images[0].numel())))


def changed_pairs(pairs: Pairs) -> Pairs:
    """Those that changed, the first as many as are looked at."""
    return pairs.take(pairs.distances > TINY).take(looked_at(pairs.originals))


def halves(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Those that are fitted, and the others."""
    part = max(1, int(FITTED * len(pairs.originals)))
    return pairs.take(slice(part)), pairs.take(slice(part, None))


def judge(way: RepresentationSet, rest: Pairs, held: Pairs) -> Judged:
    """Fit `rest`, and say what is left of `held`, of which there may be none."""
    found = way.fit(rest) if len(held.originals) else None
    residual = residual_of(found, held) if found else None
    return Judged(way, None if residual is None else found, residual)


def residual_of(found: ThreatSet, pairs: Pairs) -> float | None:
    """The median of ||nearest - attacked||^2 / ||attacked - original||^2; None if not finite."""
    left = Pairs(found.nearest(pairs).clamp(0, 1), pairs.attacked).distances / pairs.distances
    return float(left.median()) if bool(left.isfinite().all()) else None


def clipped(made: Tensor) -> float:
    """Share of the numbers that a set puts outside [0, 1] by more than rounding."""
    return float(((made < -1e-3) | (made > 1 + 1e-3)).float().mean())


def in_order(pairs: Pairs, made: Tensor) -> bool:
    """Whether attacked images are mostly nearer to what was `made` of their own original.

    That is (n, ...), and stands beside all other originals: a warp may turn one digit into another.
    """
    before, after = (one.flatten(1) for one in pairs)
    others = torch.cdist(after, before).fill_diagonal_(math.inf).amin(dim=1)
    own = (made.flatten(1) - after).norm(dim=1)
    return 2 * int((own <= others).sum()) >= len(before)
