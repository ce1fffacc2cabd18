"""The numbers of the adaptation method `amplify`, written as those of attacks are."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase
from typing import ClassVar

from benchmark.core.errors import UsageError
from benchmark.core.specs import Spec, build, check_numbers

NONE = "none"
SHARES = (1.0, 0.5, 0.25, 0.125)
"""Of the norms that were observed: the first in which no more breaks than of what was shown."""
LETTERS = {*ascii_lowercase, "_", "+"}
"""Of names joined: records of others have them, and pages show them."""


@dataclass(frozen=True)
class Amplify:
    """What is looked at beside the shown images: `amplify[every=5,representations=warp+mask]`."""

    name: ClassVar[str] = "amplify"
    representations: str = "warp+mask+filter"
    """Names joined by `+`, of which the one that fits best is used, or else norms; `norms` alone;
    `none`: nothing is inferred, which leaves shown images beside rehearsed ones."""
    shown: int = 25
    """Looks at shown images in each step."""
    own: int = 100
    """Training images attacked inside the set in each step."""
    rehearsed: int = 35
    """Training images under an attack of the defense's training in each step."""
    every: int = 10
    """Steps from one attack on the shown images to the next, where the defender can run it."""
    tries: int = 2
    """Warps or filters that the model is asked about for each image, of which the worst is taken:
    the most promising of many."""
    places: int = 4
    """Where a mask is put, likewise."""
    ascent: int = 5
    """Steps of ascent between norms."""
    fits: float = 0.5
    """The residual below which a representation is believed: it explains most of what was done.
    Fitted to few pairs, true ones leave up to 0.4; in norm balls every one leaves 0.7 or more."""
    quantile: float = 0.9
    """Of the observed norms: the sizes of the balls."""

    def __post_init__(self) -> None:
        """Raise UsageError for numbers that make no sense."""
        check_numbers(self, least=1)
        if not set(self.representations) <= LETTERS:
            raise UsageError(
                f"amplify[representations={self.representations!r}]: expected names such as "
                "warp+mask, norms or none"
            )
        if self.quantile > 1:
            raise UsageError(f"amplify[quantile={self.quantile:g}]: expected at most 1")

    @classmethod
    def of(cls, method: str) -> Amplify | None:
        """The numbers in the name of a method; None of another method.

        Raises:
            UsageError: an option that is none, or out of range.
        """
        spec = Spec.parse(method)
        if spec.name != cls.name:
            return None
        made: Amplify = build(cls, spec, {})
        return made

    @property
    def names(self) -> list[str]:
        """The representations, one by one."""
        return self.representations.split("+")

    @property
    def infers(self) -> bool:
        """Whether anything is made of the pairs."""
        return self.representations != NONE
