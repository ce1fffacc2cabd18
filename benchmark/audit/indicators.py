"""Indicators of attack failure (Pintor et al. 2022, arXiv 2106.09947), for a whole batch at once.

I1, gradients that are zero or not there, is the first look's (`benchmark.evaluation.probe`). Of
the others two cannot make a score of ours wrong, and are numbers without a flag: *silent success*
(I3), since attacks here return their strongest iterate, not their last one; and an *incomplete
optimisation* (I4), which the loss of sound models shows as well (of 3 to 100 % of what stands, on
digits): whether more steps break more is asked in `sanity`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.engine.geometry import random_start
from attacks.engine.search import AttackLoss, Search, own_loss
from attacks.gradient import PGD, climb
from benchmark.audit.compared import share
from benchmark.audit.subject import Subject
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import correct, metered
from benchmark.results.audits import Checked
from benchmark.results.flags import Flag

NEAR, DRAWS = 0.2, 20
"""Side of the box in which predictions must be stable, in eps, and points drawn in it. Published
are 8/255 and 100: there the margin of an undefended ResNet-20 on CIFAR-10 changes by 9.6 %. [T]"""
UNSTABLE = 0.1
"""Share of itself by which a margin may change in that box; sound models on digits: 0.01."""
RISE, LAST = 0.05, 10
"""Of the range of the loss: what it may still rise in so many last steps."""
CONFINED, FEWEST = 0.02, 3
"""Share and number of images that may withstand an attack that may do anything. [T]"""
LOST = 0.02
"""Share of broken images that may be right when asked again: last bits of a batch's size. [T]"""
TINY = 1e-12


class Path(NamedTuple):
    """What an attack saw of each image on its way."""

    losses: Tensor
    """(steps + 1, n)."""
    wrong: Tensor
    """Whether the iterate was classified wrongly, bool (steps + 1, n)."""


class Recorder(Search):
    """A search that writes down every iterate; with the goal `examples` nobody leaves."""

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        super().__init__(model, batch.images, batch.labels, "examples")
        self.losses: list[Tensor] = []
        self.wrong: list[Tensor] = []

    def note(
        self, rows: Tensor, proposals: Tensor, logits: Tensor, loss: AttackLoss = own_loss,
        allowed: Tensor | None = None,
    ) -> None:  # fmt: skip
        """See `Search.note`."""
        self.losses.append(loss(logits, self.labels[rows]))
        self.wrong.append(logits.argmax(dim=1) != self.labels[rows])
        super().note(rows, proposals, logits, loss, allowed)

    @property
    def path(self) -> Path:
        """So far."""
        return Path(torch.stack(self.losses), torch.stack(self.wrong))


def indicators(subject: Subject) -> Checked:
    """PGD in linf, its path recorded, and PGD that may change images as it likes."""
    if not subject.trained.gradient:
        return Checked(skipped="the model gives no gradient")
    right = subject.right()
    if not right.any():
        return Checked(skipped="no image is right without an attack")
    batch = subject.batch.take(right)
    with metered(subject.model, subject.meter):
        search = followed(subject, batch, right)
        near, rng = NEAR * _attack(subject).eps, subject.streams("near").take(right)
        unstable = float(instability(subject.model, batch, near, rng))
    again = correct(subject.model, Batch(search.best, batch.labels))
    lost, claimed = int((search.broken & again).sum()), int(search.broken.sum())
    confined = share(subject.left("pgd_linf[eps=1.0]"))
    numbers: dict[str, float | None] = {
        "I2 unstable predictions": unstable,
        "I3 silent success": share(silent(search.path)),
        "I4 incomplete optimisation": share(incomplete(search.path)[~search.broken]),
        "I5 transfer failure": lost / max(1, claimed),
        "I6 unconstrained attack failure": confined,
    }
    return Checked(flags=_flags(unstable, lost, claimed, confined, len(right)), numbers=numbers)


def _flags(unstable: float, lost: int, claimed: int, confined: float, n: int) -> list[Flag]:
    flags = []
    if unstable > UNSTABLE:
        told = f"noise of eps / 10 changes the margin of the median image by {unstable:.0%}"
        flags.append(Flag(code="unstable", message=told, value=unstable, threshold=UNSTABLE))
    if lost >= max(FEWEST, LOST * claimed):
        told = f"of {claimed} images that PGD broke {lost} are right when asked again"
        flags.append(Flag(code="not repeated", message=told, value=lost / claimed, threshold=LOST))
    if confined * n >= FEWEST and confined > CONFINED:
        told = f"{confined:.0%} of images withstand PGD that may change them as it likes"
        flags.append(Flag(code="unconstrained", message=told, value=confined, threshold=CONFINED))
    return flags


def _attack(subject: Subject) -> PGD:
    attack = subject.attack("pgd_linf")
    assert isinstance(attack, PGD)
    return attack


def followed(subject: Subject, batch: Batch, rows: Tensor) -> Recorder:
    """A run of `pgd_linf` at its default options on these rows of the subject's images."""
    attack, search = _attack(subject), Recorder(subject.model, batch)
    start = random_start(batch.images, attack.eps, "linf", subject.streams("path").take(rows))
    climb(search, start, attack, attack.steps)
    return search


@torch.no_grad()
def instability(model: nn.Module, batch: Batch, side: float, rng: Streams) -> Tensor:
    """I2: by how much noise changes the margin, as a share of it, of the median image: ().

    `side`: of the box around an image that the noise is uniform in.

    Published for the mean of the cross-entropy, which is 0 where a model is sure.
    """
    margin = _margin(model, batch)
    changes = torch.zeros_like(margin)
    for _ in range(DRAWS):
        noise = side * (rng.uniform(tuple(batch.images.shape[1:])) - 0.5)
        moved = (batch.images + noise.to(batch.images)).clamp(0, 1)
        changes += (_margin(model, Batch(moved, batch.labels)) - margin).abs() / DRAWS
    relative = (changes / margin.abs().clamp_min(TINY)).clamp_max(1)
    return relative.median() if len(relative) else relative.sum()


def _margin(model: nn.Module, batch: Batch) -> Tensor:
    """By how much the logit of the label is above the next, (n,)."""
    logits, labels = model(batch.images), batch.labels[:, None]
    margin: Tensor = logits.gather(1, labels) - logits.scatter(1, labels, -torch.inf).amax(1, True)
    return margin[:, 0]


def silent(path: Path) -> Tensor:
    """I3: bool (n,), an iterate before the last was wrong and the last one is not."""
    return path.wrong.any(dim=0) & ~path.wrong[-1]


def incomplete(path: Path) -> Tensor:
    """I4: bool (n,), the best loss so far, its range scaled to 1, rose by more than RISE at last.

    Where the loss is flat nothing is incomplete.
    """
    low, high = path.losses.amin(dim=0), path.losses.amax(dim=0)
    best = (path.losses - low) / (high - low).clamp_min(TINY)
    last = best.cummax(dim=0).values[-LAST:]
    return last[-1] - last[0] > RISE
