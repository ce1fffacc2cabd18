"""Attacks inside a ball: what all of them have in common, however they search."""

from __future__ import annotations

from benchmark.core.errors import UsageError
from benchmark.core.specs import check_numbers
from benchmark.core.types import Attack, AttackerKnowledge, NormBall


class BallAttack(Attack):
    """An attack inside the ball of radius `eps` in its norm; in l0 that is a number of pixels."""

    eps: float

    def __post_init__(self) -> None:
        """Refuse what would attack nothing, such as 0 steps: it would read as robustness."""
        check_numbers(self, least=1)

    @property
    def threat(self) -> NormBall:
        """The ball."""
        return NormBall(self.norm, self.eps)


def known(attack: Attack) -> AttackerKnowledge:
    """What an attack was given; UsageError where nobody gave it anything, as in training."""
    if attack.knowledge is None:
        raise UsageError(
            f"{attack.name} needs models or images of its own: nobody can train against it"
        )
    return attack.knowledge
