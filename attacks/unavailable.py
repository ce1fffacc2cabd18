"""Attacks of published benchmarks that are not here: they can be planned, and end skipped.

A suite that follows such a benchmark names all of its attacks: what is left out stays in sight,
with the reason, and nobody takes a part of the benchmark for the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from attacks import ATTACKS
from benchmark.core.errors import UsageError
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Family, Goal, NormBall

ART = "needs the package adversarial-robustness-toolbox, which has no adapter here"


@dataclass(frozen=True)
class Absent(Attack):
    """The name and family of an attack, and why it cannot run."""

    reason: ClassVar[str]

    @property
    def threat(self) -> NormBall:
        """Of no size: nothing is attacked."""
        return NormBall(self.norm, 0.0)

    @property
    def passes(self) -> int:
        """None."""
        return 0

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """Always the reason."""
        return self.reason

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """Raise UsageError."""
        raise UsageError(f"{self.name}: {self.reason}")


def _absent(name: str, family: Family, norm: str, reason: str) -> Absent:
    ATTACKS.refuse(name, reason)
    facts = {"name": name, "family": family, "norm": norm, "reason": reason, "__doc__": reason}
    made = type(name, (Absent,), {**facts, "__module__": __name__})
    attack: Absent = made()
    return attack


ABSENT = {
    attack.name: attack
    for attack in (
        _absent("universal_perturbation", "linf-gradient", "linf", ART),
        _absent("newton_fool", "l2-gradient", "l2", ART),
        _absent("zoo", "score-based", "l2", ART),
        _absent("simba", "score-based", "l2", ART),
        _absent("shadow", "corruption", "l2", ART),
        _absent("geoda", "decision-based", "l2", ART),
        _absent("wasserstein", "spatial", "wasserstein", ART),
    )
}
"""By name. `attacks.build.build_attack` gives them; no wildcard and not `all` finds them."""
