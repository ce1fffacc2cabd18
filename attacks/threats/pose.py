"""Attacked images without their originals: which pose, undone, makes the label of each likeliest.

    undone = attacked o (R p + t),    attacked = original o (R^-1 (p - t))

with R a turn and t a move, found on a grid by the loss of the model. Whatever blurs or moves an
adversarial perturbation makes the label likelier too, so the model does not judge what it chose:
undone images have to be nearer than they were to own images of their label. Attacks in norm balls,
masks and noise leave them farther away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks.engine.resampling import LATTICE, bicubic_field, own_places
from attacks.engine.search import Search
from attacks.threats.infer import looked_at
from attacks.threats.warp import NUMBERS, FittedWarp, warped
from attacks.threats.worst import between
from benchmark.core.streams import Streams
from benchmark.core.threats.options import Amplify
from benchmark.core.threats.sets import Inference
from benchmark.core.types import Batch

KIND = "pose"
DEGREES, SIDES = 45.0, 0.25
"""The largest turn, and the largest move in half sides of the image."""
TURNS, MOVES = 13, 3
POSES = TURNS * MOVES * MOVES
"""Passes for each image."""
CHANCE = 0.05
"""Of as many images coming nearer where a pose does no more than a coin: below, it is believed."""


@dataclass(frozen=True, eq=False)
class FittedPoses(FittedWarp):
    """Turns and moves that some images were found in; c as in `numbers_of`."""

    def __str__(self) -> str:
        degrees = math.degrees(float(torch.atan2(self.observed[:, 1], self.observed[:, 0] + 1)
                                     .abs().max()))  # fmt: skip
        sides = float(self.observed[:, 2:].abs().max()) / 2
        return f"turns of up to {degrees:.0f} degrees, moves of up to {sides:.2g} of a side"

    def attack_inside(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: Streams
    ) -> Tensor:
        """The worst of a few poses at random, at the passes of a warp's slope and tries.

        Not the most promising: those are the largest turns, which are most often found wrongly.
        """
        search = Search(model, images, labels, "examples")
        for c in between(self.observed, rng)[:, : 2 + self.tries].unbind(1):
            search.ask(search.everyone(), warped(images, c @ self.basis))
        return search.best


def numbers_of(turns: Tensor, moves: Tensor) -> Tensor:
    """What a `FittedWarp` on `basis_of` takes, (n, 4): p -> R p + t as p plus a few fields.

    `turns` (n,) in degrees, clockwise as p turns; `moves` (n, 2), right and down in half sides.
    """
    angle = turns * math.pi / 180
    return torch.cat([torch.stack([angle.cos() - 1, angle.sin()], dim=1), moves], dim=1)


def basis_of(images: Tensor) -> Tensor:
    """Moves of a lattice, (4, NUMBERS): p, p turned by 90 degrees, 1 to the right and 1 down.

    By least squares, since bicubic interpolation bends lines a little.
    """
    height, width = images.shape[2:]
    x, y = own_places(images).to(images).unbind(2)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    parts = [(x, y), (-y * height / width, x * width / height), (one, zero), (zero, one)]
    wanted = torch.stack([torch.stack(part, dim=2).flatten() for part in parts])
    units = torch.eye(NUMBERS, device=images.device).view(NUMBERS, 2, LATTICE, LATTICE)
    fields = bicubic_field(units, height, width).flatten(1)
    found: Tensor = torch.linalg.lstsq(fields.T, wanted.T).solution.T
    return found


def inverse(numbers: Tensor, images: Tensor) -> Tensor:
    """Of p -> R p + t: p -> R^-1 p - R^-1 t."""
    height, width = images.shape[2:]
    cos, sin = numbers[:, 0] + 1, numbers[:, 1]
    right, down = numbers[:, 2] * width, numbers[:, 3] * height
    moves = [-(cos * right + sin * down) / width, -(cos * down - sin * right) / height]
    return torch.stack([cos - 1, -sin, *moves], dim=1)


@torch.no_grad()
def likeliest(model: nn.Module, shown: Batch) -> Tensor:
    """The pose of each image whose undoing makes its label likeliest, `numbers_of` (n, 4)."""
    basis, side = basis_of(shown.images), torch.linspace(-SIDES, SIDES, MOVES)
    turns, right, down = torch.cartesian_prod(
        torch.linspace(-DEGREES, DEGREES, TURNS), side, side
    ).T
    poses = numbers_of(turns, torch.stack([right, down], dim=1)).to(shown.images.device)
    losses = torch.stack([
        cross_entropy(
            model(warped(shown.images, (one @ basis).expand(len(shown.labels), -1))),
            shown.labels, reduction="none",
        )
        for one in poses
    ])  # fmt: skip
    return poses[losses.argmin(dim=0)]


def to_own(shown: Batch, own: Batch) -> Tensor:
    """Squared distance to the nearest of the own images of the same label, (n,); inf without."""
    apart = torch.cdist(shown.images.flatten(1), own.images.flatten(1)).square()
    apart[shown.labels[:, None] != own.labels] = torch.inf
    return apart.amin(dim=1)


def infer_poses(numbers: Amplify, model: nn.Module, shown: Batch, own: Batch) -> Inference:
    """The poses that `shown`, attacked images, are in; nothing where they are in none.

    The residual is the median share of the squared distance to `own` images of the same label
    that undoing leaves: above 1 it leads away.
    """
    from scipy.stats import binomtest  # half a second where nothing is inferred

    shown = Batch(*(part[looked_at(shown.images)] for part in shown))
    found, basis = likeliest(model, shown), basis_of(shown.images)
    undone = Batch(warped(shown.images, found @ basis), shown.labels)
    before, after = to_own(shown, own), to_own(undone, own)
    known = before.isfinite() & (before > 0)
    count, nearer = int(known.sum()), known & (after < before)
    if not count:
        return Inference("", None, {KIND: None}, count, 0.0, True)
    residuals = {KIND: float((after / before)[known].median())}
    if binomtest(int(nearer.sum()), count, alternative="greater").pvalue >= CHANCE:
        return Inference("", None, residuals, count, 0.0, True)
    poses = FittedPoses(basis, inverse(found[nearer], shown.images), numbers.tries)
    return Inference(KIND, poses, residuals, count, 0.0, True)
