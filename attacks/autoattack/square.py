"""Square (Andriushchenko et al. 2020), as AutoAttack runs it: a score-based attack, no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attacks import ATTACKS
from attacks.autoattack.square_l2 import square_l2
from attacks.autoattack.square_linf import square_linf
from attacks.autoattack.stage import Stage
from attacks.engine.search import Search
from benchmark.core.streams import Streams
from benchmark.core.types import Family


@dataclass(frozen=True)
class Square(Stage):
    """Random squares, shrinking as the published schedule says for 5,000 queries."""

    family: ClassVar[Family] = "score-based"
    eps: float
    queries: int = 5000
    """5,000 is published."""

    @property
    def passes(self) -> int:
        """One forward a query."""
        return self.queries + 1


@ATTACKS.register
@dataclass(frozen=True)
class SquareLinf(Square):
    """AutoAttack's last part, as published: Square in linf."""

    name: ClassVar[str] = "aa_square"
    norm: ClassVar[str] = "linf"

    def attack(self, search: Search, rng: Streams) -> None:
        """See `Part.attack`."""
        square_linf(search, search.standing(), rng, self.queries, self.eps)


@ATTACKS.register
@dataclass(frozen=True)
class SquareL2(Square):
    """AutoAttack's last part, as published: Square in l2."""

    name: ClassVar[str] = "aa_square_l2"
    norm: ClassVar[str] = "l2"

    def attack(self, search: Search, rng: Streams) -> None:
        """See `Part.attack`."""
        square_l2(search, search.standing(), rng, self.queries, self.eps)
