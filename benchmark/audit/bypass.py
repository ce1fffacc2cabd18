"""Whether an attack that goes around what a defense adds to its network does better than through.

Of a model that changes images before its network (quantises, compresses, purifies, resizes) or
logits after it, the network inside has gradients that the whole may lack. None of nine defenses
that optimise at test time was better than their own network by itself (Croce et al. 2022, arXiv
2202.13711).
"""

from __future__ import annotations

from torch import Tensor

from attacks.masked import FEW, network_behind
from benchmark.audit.evidence import fewer, table
from benchmark.audit.subject import Subject
from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import correct
from benchmark.results.audits import Checked
from benchmark.results.flags import Flag

THROUGH = "pgd_linf[steps=20]"
OTHERS = {
    "around": "pgd_linf_bpda[steps=20]",
    "network alone": "pgd_linf_bpda[steps=20,at=images]",
}
POINTS = 5.0
"""Less is not worth a flag [T]; of nine defenses, six gave more."""


def bypass(subject: Subject) -> Checked:
    """Accuracy under PGD through the whole model, around its steps, and on its network alone.

    Attacks with PGD on the model, and with the gradients of the network inside: at what that is
    handed (BPDA with the identity), and at the images.
    """
    with global_state(stream("audit", "bypass", subject.cell.seed)):
        if network_behind(subject.model, subject.batch.images[:FEW]) is None:
            return Checked(skipped="there is no other network inside the model")
        through = stands(subject, THROUGH) if subject.trained.gradient else subject.right()
        others = {name: stands(subject, text) for name, text in OTHERS.items()}
    numbers: dict[str, float | None] = {"through": float(through.float().mean())}
    numbers |= {name: float(held.float().mean()) for name, held in others.items()}
    return Checked(flags=judged(through, others), numbers=numbers)


def judged(through: Tensor, others: dict[str, Tensor]) -> list[Flag]:
    """A flag where one of the other ways leaves fewer images standing, bool (n,) each."""
    best = min(others, key=lambda name: int(others[name].sum()))
    found = fewer(table(through), table(others[best]), POINTS, tests=len(others))
    if found is None:
        return []
    what = "the network inside the model" + (", by itself," if best == "network alone" else "")
    message = f"gradients of {what} leave {found.after:.1%} right, its own {found.before:.1%}"
    value = found.before - found.after
    return [Flag(code="bypass", message=message, value=value, threshold=POINTS / 100)]


def stands(subject: Subject, text: str) -> Tensor:
    """Which images are right, and still are as strongly attacked as can be: bool (n,)."""
    attacked = Batch(subject.crafted(text, "examples"), subject.batch.labels)
    return subject.right() & correct(subject.model, attacked)
