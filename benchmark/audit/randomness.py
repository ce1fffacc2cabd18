"""What is left of a randomised defense once its randomness is averaged over, or known.

Attacks that climb the gradient of one draw and are judged by another are weak by chance, not by
the model (Athalye et al. 2018). So it is attacked in expectation, judged by several draws, and
attacked and judged at fixed draws: who knows the draw meets a deterministic model, and a defense
that rests on more than its noise resists there as well.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.audit.evidence import fewer, table
from benchmark.audit.subject import Subject
from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Batch
from benchmark.evaluation.batch_size import pieces_for
from benchmark.evaluation.verdicts import correct, run_attack
from benchmark.results.audits import Checked
from benchmark.results.flags import Flag

USUAL, EXPECTED = "pgd_linf[steps=20]", "pgd_linf_eot[steps=20,draws=20]"
"""20 draws, as Croce et al. 2022 (arXiv 2202.13711) ask for at least."""
DRAWS = 5
"""Evaluations of the same images, of which mean, deviation and worst case are told (ibid.)."""
FIXED = 3
"""Draws at which the model is attacked and judged alike; the kindest must be a finding."""
POINTS = 5.0
"""Less is not worth a flag [T]; diffusion-style defenses lose 46."""


def randomness(subject: Subject) -> Checked:
    """Accuracy under attacks on one draw, on the expectation, and at fixed draws.

    Attacks with PGD, with PGD on the expectation over 20 draws, and with PGD at 3 fixed draws.
    """
    if not subject.randomised:
        return Checked(skipped="the model answers alike every time")
    with global_state(stream("audit", "randomness", subject.cell.seed)):
        drawn = {
            "clean": draws(subject, subject.batch.images),
            "attacked": draws(subject, subject.crafted(USUAL)),
            "expectation": draws(subject, subject.crafted(EXPECTED)),
        }
        fixed = [at_fixed_draw(subject, seed) for seed in range(FIXED)]
    numbers: dict[str, float | None] = {}
    for name, verdicts in drawn.items():
        numbers |= spread(name, verdicts)
    known = [one for one in fixed if one is not None]
    numbers["fixed draw"] = float(table(*known).mean()) if known else None
    flags = _of_expectation(drawn["attacked"], drawn["expectation"])
    return Checked(flags=flags + of_fixed(drawn["expectation"], known), numbers=numbers)


def draws(subject: Subject, images: Tensor) -> np.ndarray:
    """Verdicts of as many passes over the same images: bool (DRAWS, n)."""
    batch = Batch(images, subject.batch.labels)
    return table(*(correct(subject.model, batch) for _ in range(DRAWS)))


def spread(name: str, verdicts: np.ndarray) -> dict[str, float | None]:
    """Accuracy of several passes (draws, n): mean and deviation, and right in all of them."""
    each = verdicts.mean(axis=1)
    return {
        name: float(each.mean()),
        f"{name}, sd": float(each.std(ddof=1)),
        f"{name}, worst draw of each image": float(verdicts.all(axis=0).mean()),
    }


def _of_expectation(attacked: np.ndarray, expected: np.ndarray) -> list[Flag]:
    found = fewer(attacked[:1], expected[:1], POINTS)
    if found is None:
        return []
    message = (
        f"attacked in expectation over its randomness {expected.mean():.1%} are right, "
        f"attacked by single draws {attacked.mean():.1%}"
    )
    value = float(attacked.mean() - expected.mean())
    return [Flag(code="expectation", message=message, value=value, threshold=POINTS / 100)]


def of_fixed(expected: np.ndarray, fixed: list[Tensor]) -> list[Flag]:
    """A flag where at every fixed draw fewer are right than under attacks on the expectation.

    One pass is compared with one: of a model whose noise is only added to its logits' slopes each
    image is right as often at a fixed draw as at a fresh one, so that neither side is favoured.
    """
    rows = [table(one) for one in fixed]
    if not rows or not all(fewer(expected[:1], row, POINTS) for row in rows):
        return []
    known = float(np.mean(rows))
    message = (
        f"whoever knows the draw leaves {known:.1%} right, whoever does not {expected.mean():.1%}"
    )
    value = float(expected.mean()) - known
    return [Flag(code="randomness", message=message, value=value, threshold=POINTS / 100)]


class AtFixedDraw(nn.Module):
    """A model whose randomness is the same in every pass over as many images."""

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__()
        self.model, self.seed = model, seed
        self.train(model.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        with global_state(stream("audit", "fixed draw", self.seed)):
            logits: Tensor = self.model(images)
        return logits


@torch.no_grad()
def at_fixed_draw(subject: Subject, seed: int) -> Tensor | None:
    """Which images stand where attack and verdict see the same draw: bool (n,).

    Batches are the same for both, since what is drawn depends on how many images there are. None of
    a model whose randomness is not that of the global generators.
    """
    model = AtFixedDraw(subject.model, seed)
    if not torch.equal(model(subject.batch.images), model(subject.batch.images)):
        return None
    attack, rng = subject.attack(USUAL), subject.streams(USUAL, "fixed draw", seed)
    held = []
    for rows in pieces_for(attack, model, subject.batch.images):
        some = subject.batch.take(rows)
        with torch.enable_grad():
            made = run_attack(attack, model, some, "examples", subject.meter, rng.take(rows))
        held.append(model(made.images).argmax(dim=1) == some.labels)
    return torch.cat(held)
