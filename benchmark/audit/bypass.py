"""Whether an attack that goes around what a defense adds to its network does better than through.

Of a model that changes images before its network (quantises, compresses, purifies, resizes) or
logits after it, the network inside has gradients that the whole may lack. None of nine defenses
that optimise at test time was better than their own network by itself (Croce et al. 2022, arXiv
2202.13711).
"""

from __future__ import annotations

from torch import Tensor, nn

from attacks.masked import FEW, network_behind
from benchmark.audit.evidence import fewer, table
from benchmark.audit.subject import Subject
from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import correct, run_attack
from benchmark.results.audits import Checked
from benchmark.results.flags import Flag

THROUGH, AROUND = "pgd_linf[steps=20]", "pgd_linf_bpda[steps=20]"
POINTS = 5.0
"""Less is not worth a flag [T]; of nine defenses, six gave more."""


def bypass(subject: Subject) -> Checked:
    """Accuracy under PGD through the whole model, around its steps, and on its network alone.

    Attacks with PGD on the model, with PGD whose way back leaves out all but the network inside
    (BPDA with the identity), and with PGD on that network, judged by the model.
    """
    with global_state(stream("audit", "bypass", subject.cell.seed)):
        network = network_behind(subject.model, subject.batch.images[:FEW])
        if network is None:
            return Checked(skipped="there is no other network inside the model")
        right = subject.right()
        through = (
            right & _stand(subject, subject.crafted(THROUGH, "examples"))
            if subject.trained.gradient
            else right
        )
        others = {
            "around": right & _stand(subject, subject.crafted(AROUND, "examples")),
            "transferred": right & _stand(subject, _on_network(subject, network)),
        }
    numbers: dict[str, float | None] = {"through": float(through.float().mean())}
    numbers |= {name: float(held.float().mean()) for name, held in others.items()}
    return Checked(flags=judged(through, others), numbers=numbers)


def judged(through: Tensor, others: dict[str, Tensor]) -> list[Flag]:
    """A flag where one of the other ways leaves fewer images standing, bool (n,) each."""
    best = min(others, key=lambda name: int(others[name].sum()))
    found = fewer(table(through), table(others[best]), POINTS, tests=len(others))
    if found is None:
        return []
    what = {
        "around": "gradients that leave out what the model adds to its network",
        "transferred": "examples made on the network inside the model",
    }[best]
    message = f"{what} leave {found.after:.1%} right, its own gradients {found.before:.1%}"
    value = found.before - found.after
    return [Flag(code="bypass", message=message, value=value, threshold=POINTS / 100)]


def _stand(subject: Subject, images: Tensor) -> Tensor:
    return correct(subject.model, Batch(images, subject.batch.labels))


def _on_network(subject: Subject, network: nn.Module) -> Tensor:
    rng = subject.streams(THROUGH, "network inside")
    attack = subject.attack(THROUGH)
    return run_attack(attack, network, subject.batch, "examples", subject.meter, rng).images
