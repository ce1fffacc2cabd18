"""What was measured in a cell, verdict by verdict, and the rules that no outcome breaks."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from benchmark.core.schema import Amount, Count, Effort, Frozen

Share = Annotated[float, Field(ge=0, le=1)]


class Verdicts(Frozen):
    """True/false per episode and query image, packed: one bit each, base64."""

    episodes: Count
    n: Count
    bits: str

    @classmethod
    def pack(cls, table: np.ndarray) -> Self:
        """From a bool array (episodes, n)."""
        episodes, n = table.shape
        return cls(episodes=episodes, n=n, bits=_text(np.packbits(table.astype(bool)).tobytes()))

    def unpack(self) -> np.ndarray:
        """Back to a bool array (episodes, n)."""
        raw = np.frombuffer(self.raw, dtype=np.uint8)
        flat = np.unpackbits(raw, count=self.episodes * self.n).astype(bool)
        return flat.reshape(self.episodes, self.n)

    @model_validator(mode="after")
    def _length(self) -> Self:
        expected = (self.episodes * self.n + 7) // 8
        raw = self.raw
        if len(raw) != expected:
            raise ValueError(
                f"verdicts hold {len(raw)} bytes; "
                f"{self.episodes} episodes x {self.n} images need {expected}"
            )
        spare = 8 * expected - self.episodes * self.n
        if (spare and raw[-1] % (1 << spare)) or _text(raw) != self.bits:
            raise ValueError("verdicts are not as they are packed: bits beyond the last image")
        return self

    def within(self, other: Self) -> bool:
        """Whether whatever is true here is true there, in a table of the same shape."""
        ours, theirs = (int.from_bytes(one.raw, "big") for one in (self, other))
        return not ours & ~theirs

    @property
    def raw(self) -> bytes:
        """Eight verdicts a byte, the first one highest; zeros at the end."""
        return base64.b64decode(self.bits, validate=True)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


class Integrity(Frozen):
    """That adaptation moved parameters of a copy and nothing else, and saw no scored image.

    How far the parameters moved is in `Outcome.moved`.
    """

    buffers_moved: list[Amount]
    """Per episode, the largest change of a buffer: 0."""
    base: tuple[str, str]
    """State hash of the trained model before and after the cell: equal."""
    shared: list[Count]
    """Per episode, images of the published data that were both shown and scored: 0."""
    loss_fell: Share | None
    """Share of episodes whose loss on the shown examples fell; None where nothing adapts."""

    @model_validator(mode="after")
    def _holds(self) -> Self:
        if any(self.buffers_moved):
            raise ValueError(f"buffers moved by {max(self.buffers_moved)} during adaptation")
        if self.base[0] != self.base[1]:
            raise ValueError(f"the trained model changed, from {self.base[0]} to {self.base[1]}")
        if any(self.shared):
            raise ValueError(f"{max(self.shared)} images were both shown and scored")
        return self


def fell(losses: Sequence[tuple[float, float]]) -> float:
    """Share of episodes whose support loss (before, after) fell.

    >>> fell([(2.0, 1.0), (1.0, 1.0), (1.0, 3.0), (1.0, 0.5)])
    0.5
    """
    return sum(after < before for before, after in losses) / len(losses)


class Inferred(Frozen):
    """What `amplify` found out about the attacker from the pairs of one episode."""

    kind: str
    """The representation that was chosen, `norms` where none fits; empty where nothing is."""
    found: str
    """The set own images were attacked in: `a warp of rank 2`; empty where no image changed."""
    residuals: dict[str, Amount | None]
    """By representation that was available, the best first: the median share of a change that it
    leaves unexplained on pairs it was not fitted on; None where it could not be fitted. Of `pose`,
    which is told without originals: of the squared distance to own images of the same label."""
    pairs: Count
    """That changed, as many as were looked at; without originals all attacked images."""
    sets: Count
    """Sets in the end: one more for each time that shown images were attacked again."""
    size: Amount | None = None
    """Median l2 distance of own images inside the first set, in units of that of the pairs."""
    declared: Amount | None = None
    """The same in the norm of the declared threat, in units of its size; None of other threats."""
    clipped: Share = 0.0
    """Share of the numbers of images that the set puts outside [0, 1], where they are cut."""
    in_order: bool = True
    """False where nothing fits and most attacked images are nearer to another's original."""

    def __str__(self) -> str:
        """As in `a warp of rank 2, residual 0.003; runner-up a mask, 0.41`."""
        known = {name: left for name, left in self.residuals.items() if left is not None}
        own = known.pop(self.kind, None)
        fit = "" if own is None else f", residual {own:.2g}"
        after = "runner-up" if self.kind else "not believed:"
        after = "; ".join(f"{after} a {name}, {left:.2g}" for name, left in [*known.items()][:1])
        return f"{self.found or 'nothing'}{fit}{'; ' if after else ''}{after}"


class Outcome(Frozen):
    """The verdicts of a cell: was the image classified correctly. DESIGN section 3 of the words.

    `clean_before` and `before` (= robust@0) belong to the trained model and have one row; the
    others belong to the adapted models and have a row per episode.
    """

    clean_before: Verdicts
    before: Verdicts
    clean: Verdicts
    static: Verdicts
    reattacked: Verdicts
    rule: Verdicts | None = None
    """Under the attacker who knows how the defender adapts, but not to which images; None where
    it was not asked for, or there is one episode."""
    moved: list[Amount]
    """Per episode, ||adapted - trained|| / ||trained|| over the parameters."""
    support_loss: list[tuple[Amount, Amount]]
    """Per episode, loss on the shown examples before and after adaptation."""
    adaptation: list[Effort] = []
    """Per episode, what adapting took: passes of the inner loop, and of the attack where the
    defender runs it. Seconds are not kept, since episodes adapt together; empty: not known."""
    inferred: list[Inferred] = []
    """Per episode, what `amplify` found out; empty of other methods."""
    outside: Count = 0
    """Minimum-norm proposals over budget, all runs together: there the attack counts as failed."""
    integrity: Integrity | None = None
    """None in records of before it was kept."""

    @model_validator(mode="after")
    def _rows_agree(self) -> Self:
        one = self.clean_before, self.before
        many = [self.clean, self.static, self.reattacked, *([self.rule] if self.rule else [])]
        episodes = self.episodes
        if {table.n for table in (*one, *many)} != {self.n} or not self.n:
            raise ValueError("verdicts of several numbers of images, or of none")
        if {table.episodes for table in one} != {1}:
            raise ValueError("the trained model has verdicts of other than one row")
        if {table.episodes for table in many} != {episodes} or not episodes:
            raise ValueError("adapted models have verdicts of several numbers of episodes")
        known = len(self.adaptation) or episodes
        if len(self.inferred) not in (0, episodes):
            known = 0
        if not len(self.moved) == len(self.support_loss) == known == episodes:
            raise ValueError(f"facts on adaptation of other than the {episodes} episodes there are")
        return self

    @model_validator(mode="after")
    def _robust_is_correct(self) -> Self:
        """Robust is right as it is *and* attacked; what is `static` alone may be luck."""
        pairs = ((self.clean_before, self.before), (self.clean, self.reattacked))
        for right, robust in (*pairs, (self.clean, self.rule or self.clean)):
            if not robust.within(right):
                raise ValueError("an image counts as robust that is wrong before it is attacked")
        return self

    @model_validator(mode="after")
    def _integrity_agrees(self) -> Self:
        found, episodes = self.integrity, self.episodes
        if found is None:
            return self
        if not len(found.buffers_moved) == len(found.shared) == episodes:
            raise ValueError(f"integrity of other than the {episodes} episodes there are")
        if found.loss_fell not in (None, fell(self.support_loss)):
            raise ValueError(f"loss_fell is {found.loss_fell}, not {fell(self.support_loss)}")
        return self

    @property
    def n(self) -> int:
        """Images scored."""
        return self.before.n

    @property
    def episodes(self) -> int:
        """Adapted models that were scored; 1 where nothing adapts."""
        return self.static.episodes

    def is_unadapted(self) -> bool:
        """Whether the verdicts are those of the trained model throughout."""
        return self.clean == self.clean_before and self.before == self.static == self.reattacked
