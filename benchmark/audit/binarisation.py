"""The binarisation test (Zimmermann et al. 2022, arXiv 2206.13991): do attacks find what is there?

Around each image the last layer is replaced by one that tells points inside the ball, the image
among them, from one corner of it. All else stays as it is, what hides gradients included. That
corner is then an adversarial example that provably exists, so an attack that is worth its name
finds one; if it does not, no verdict `standing` of its can be believed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.engine.ball import BallAttack
from attacks.engine.search import Search
from benchmark.adaptation.parameters import head_parameters
from benchmark.audit.subject import Subject
from benchmark.core.model_access import Composite
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.evaluation.logits import expect_logits
from benchmark.evaluation.verdicts import correct, metered, survives
from benchmark.results.audits import Checked
from benchmark.results.flags import Flag

IMAGES, FEWEST = 50, 8
"""That are tested; with a readout that holds, at least, or the test says nothing. [T]"""
INNER = 100
"""Points inside the ball for each image; published are 999 for features of 512 numbers. [T]"""
INSIDE = 0.95
"""Inner points are within this share of eps, so that a gap is left; as published."""
NEAR = 0.95
"""How close to the corner the decision is put, as a share of the gap between it and the inner
points: from 0, anywhere will do, to 1, only the corner itself. [T]"""
RIDGE = 1.0
"""Weight of the readout's size, relative to that of the features. A small one looks for directions
in which features hardly vary: with 1e-4 the attack missed a tenth on three sound models. [T]"""
DRAWS = 200
"""Random corners, as many as the attack makes passes."""
FOUND, P = 0.95, 0.01
"""Share of the examples that an attack has to find, as published, and how sure it must be that it
found fewer."""
ATTACKS = ("aa_apgd_ce", "pgd_linf")
"""Those under test, the second on what the first misses: they need no third class."""


class Readout(NamedTuple):
    """Linear functions of features, one an image: above 0 for its corner, below inside the ball."""

    weight: Tensor
    """(n, features)."""
    bias: Tensor
    """(n,)."""


class Binarised(Composite):
    """A model whose last layer says `inside` (class 0) or `corner` (class 1), as each row has it.

    `head`: the layer whose output is replaced, with what comes after it left as it is; None takes
    the logits for features, of a model without such a layer.
    """

    def __init__(self, model: nn.Module, head: nn.Module | None, readout: Readout) -> None:
        super().__init__()
        self.model, self.head, self.readout, self.gate = model, head, readout, model
        self.eval()

    def take(self, rows: Tensor) -> Binarised:
        """See `Composite`."""
        return Binarised(self.model, self.head, Readout(*(part[rows] for part in self.readout)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, 2)."""
        if self.head is None:
            return self._read(self.model(images))
        hook = self.head.register_forward_hook(lambda _module, inputs, _: self._read(inputs[0]))
        try:
            logits: Tensor = self.model(images)
        finally:
            hook.remove()
        return logits

    def _read(self, features: Tensor) -> Tensor:
        """In the shape that the layer's output has: (batch, 2), or (batch, 2, 1, 1)."""
        value = (features.flatten(1) * self.readout.weight).sum(dim=1) + self.readout.bias
        both = torch.stack([-value, value], dim=1)
        return both.view(*both.shape, *[1] * (features.dim() - 2))


def binarisation(subject: Subject, texts: tuple[str, ...] = ATTACKS) -> Checked:
    """Attack with Auto-PGD and PGD on the cross-entropy, or others, and with random corners."""
    if not subject.trained.gradient:
        return Checked(skipped="the model gives no gradient")
    images = subject.batch.take(subject.right()).images[:IMAGES]
    if len(images) < FEWEST:
        return Checked(skipped=f"right images: {len(images)}, the test needs {FEWEST}")
    attack, rng = subject.attack(texts[0]), subject.streams("binarisation").take(slice(len(images)))
    assert isinstance(attack, BallAttack)
    with metered(subject.model, subject.meter):
        binarised, corners = planted(subject.model, images, attack.eps, rng)
        rows = certified(binarised, images, corners).nonzero().flatten()
        if len(rows) < FEWEST:
            return Checked(skipped=f"features tell a corner apart on {len(rows)} images alone")
        model, batch = binarised.take(rows), Batch(images[rows], torch.zeros_like(rows))
        easy = by_chance(model, batch.images, attack.eps, rng.take(rows).fork("chance"))
    left = torch.ones_like(easy)
    for text in texts:
        own = rng.take(rows).fork(text)
        left, _ = survives(subject.attack(text), model, batch, subject.meter, own, left)
    return judged(" and ".join(texts), ~left, easy)


def judged(text: str, found: Tensor, easy: Tensor) -> Checked:
    """What it says that attacks, and that chance, found of the examples: bool (n,) each."""
    from scipy.stats import binomtest  # half a second where nothing is audited

    n, share = len(found), float(found.float().mean())
    chance = float(easy.float().mean())
    numbers: dict[str, float | None] = {"images": n, "found": share, "found by chance": chance}
    if binomtest(int(found.sum()), n, FOUND, alternative="less").pvalue >= P:
        return Checked(numbers=numbers)
    told = f"{text} find {int(found.sum())} of {n} adversarial examples that provably exist"
    flag = Flag(code="binarisation", message=told, value=share, threshold=FOUND)
    return Checked(flags=[flag], numbers=numbers)


@torch.no_grad()
def planted(model: nn.Module, images: Tensor, eps: float, rng: Streams) -> tuple[Binarised, Tensor]:
    """A model with an adversarial example for each image, and these (n, ...): corners of the ball.

    Readouts are scaled to the range of what they replace: what saturates there does here.
    """
    head, shape = head_of(model, images), tuple(images.shape[1:])
    outputs = asked(model, head, images)[1]
    reach = (outputs.amax(dim=1) - outputs.amin(dim=1)).mean() / 2
    corners = _corners(images, eps, rng)
    readouts = []
    for row in range(len(images)):
        noise = 2 * rng.take(slice(row, row + 1)).uniform((INNER, *shape))[0] - 1
        inner = (images[row] + INSIDE * eps * noise.to(images)).clamp(0, 1)
        points = torch.cat([images[row : row + 1], inner, corners[row : row + 1]])
        readouts.append(separating(asked(model, head, points)[0], float(reach)))
    weight, bias = map(torch.stack, zip(*readouts, strict=True))
    return Binarised(model, head, Readout(weight, bias)), corners


def separating(features: Tensor, reach: float) -> Readout:
    """What tells the last row of `features` (points, features) from all others, by least squares.

    weight (features,), bias (); values are within -`reach` to `reach`. Where no plane does, the
    last row ends up below 0 too.
    """
    points = features.double()
    points = points - points.mean(dim=0)
    kernel, target = points @ points.T, points.new_zeros(len(points))
    target[-1] = 1.0
    ridge = RIDGE * kernel.diagonal().mean().clamp_min(1e-30) * torch.eye(len(points)).to(kernel)
    weight = points.T @ torch.linalg.solve(kernel + ridge, target - target.mean())
    values = features.double() @ weight
    nearest = values[:-1].max()
    border = nearest + NEAR * (values[-1] - nearest)
    scale = reach / (values - border).abs().max().clamp_min(1e-30)
    return Readout((scale * weight).to(features), (-scale * border).to(features))


def head_of(model: nn.Module, images: Tensor) -> nn.Module | None:
    """The layer whose output are the logits, if there is one, and another can take its place.

    What comes after it may need its number of classes, and images may pass it more than once.
    """
    names = head_parameters(model, images)
    head = model.get_submodule(names[0].rpartition(".")[0]) if names else None
    try:
        weight = torch.zeros_like(asked(model, head, images)[0])
        expect_logits(Binarised(model, head, Readout(weight, weight[:, 0]))(images), len(images))
    except Exception:
        return None
    return head


def asked(model: nn.Module, head: nn.Module | None, images: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer is given, and what it answers, both (batch, numbers); logits if None."""
    if head is None:
        logits = model(images)
        return logits, logits
    passed: list[Tensor] = []
    hook = head.register_forward_hook(
        lambda _module, inputs, output: passed.extend((*inputs, output))
    )
    try:
        model(images)
    finally:
        hook.remove()
    return passed[-2].flatten(1), passed[-1].flatten(1)


@torch.no_grad()
def certified(model: Binarised, images: Tensor, corners: Tensor) -> Tensor:
    """Where the corner is an adversarial example indeed: bool (n,)."""
    inside = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    return correct(model, Batch(images, inside)) & correct(model, Batch(corners, inside + 1))


def by_chance(model: Binarised, images: Tensor, eps: float, rng: Streams) -> Tensor:
    """Where one of DRAWS random corners is an adversarial example: bool (n,)."""
    inside = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    search = Search(model, images, inside, "examples")
    for _ in range(DRAWS):
        search.ask(search.everyone(), _corners(images, eps, rng))
    return search.broken


def _corners(images: Tensor, eps: float, rng: Streams) -> Tensor:
    """A corner of the linf ball around each image, drawn at random, as far as it is in [0, 1]."""
    return (images + eps * rng.signs(tuple(images.shape[1:])).to(images)).clamp(0, 1)
