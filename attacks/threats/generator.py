"""Threats that are inferred by what was learned from thousands of others, drawn by chance.

An encoder looks at K pairs and says theta, the numbers of a set: a warp and how it varies, a local
operator, a tone curve, a residual, and a mask. A code u, |u| <= 1, says where in the set one pair
is. The encoder learns both by reconstruction, on procedural families of the training images:

    min E ||G(x, theta, u) - a||^2 / ||a - x||^2,   theta = T(mean_i h(x_i, a_i)),   u = q(h, theta)

(DeepSets, Zaheer et al. 2017; perturbation sets learned with a conditional autoencoder, Wong &
Kolter 2020, arXiv 2007.08450, of one attack at a time.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from attacks.engine.dct import basis
from attacks.threats.local_filter import neighbours
from attacks.threats.procedural import family
from attacks.threats.warp import NUMBERS, warped
from benchmark.core.seeding import global_state
from benchmark.core.threats.sets import Pairs
from benchmark.core.types import Shape

WARP, OPERATOR, TONE, RESIDUAL, PLACE = 4, 3, 2, 2, 2
PARTS = (WARP, OPERATOR, TONE, RESIDUAL, PLACE)
"""Numbers of a code for each part."""
CODE = sum(PARTS)
SIDE, WAVES, FREQUENCIES = 5, 4, 8
"""Of an operator, of a tone curve, and of a residual down and across."""
WIDTH, HIDDEN, SEEN, SCALE = 24, 128, 48, 0.3
FAMILIES, EACH, SHOWN = 8, 16, 10
"""In one step of training; pairs of each family, of which so many tell theta."""
STEPS, RAMP, RATE, PENALTY, NOISE = 5000, 100, 2e-3, 1e-3, 0.05
"""Of training: how many steps, the first of which grow to the rate of Adam, which falls along a
cosine; the penalty on the squares of codes, and noise that is added to them."""
SMALLEST = 1e-3
"""Squared distance below which a pair counts as if it had that: most of it is rounding."""


class Described(NamedTuple):
    """Theta, of each image (n, ...): of every part a mean, then a direction for each number."""

    warp: Tensor
    operator: Tensor
    tone: Tensor
    residual: Tensor
    mask: Tensor
    """Half height and width, opacity, sharpness, colour, before they are squashed."""

    def take(self, rows: Tensor) -> Described:
        """Of some rows, int64."""
        return Described(*(part[rows] for part in self))


def mixed(part: Tensor, numbers: Tensor) -> Tensor:
    """The mean (n, k) of a part (n, 1 + rank, k), and its directions times numbers (n, rank)."""
    return SCALE * (part[:, 0] + (numbers[:, None] @ part[:, 1:])[:, 0])


def generated(images: Tensor, theta: Described, codes: Tensor) -> Tensor:
    """G: images (n, ...) changed as codes (n, CODE) say; may leave [0, 1]."""
    warp, operator, tone, residual, place = torch.split(codes, list(PARTS), dim=1)
    made = warped(images, mixed(theta.warp, warp))
    kernels = mixed(theta.operator, operator)[:, :, None]
    made = made + (neighbours(made, SIDE) @ kernels).view_as(made)
    for wave, size in enumerate(mixed(theta.tone, tone).unbind(1)):
        made = made + size[:, None, None, None] * (math.pi * (wave + 1) * made).sin()
    made = made + _waves(mixed(theta.residual, residual), images)
    return _covered(made, theta.mask, place)


def _waves(numbers: Tensor, images: Tensor) -> Tensor:
    """Images (n, ...) of the lowest frequencies, FREQUENCIES down and across."""
    down, across = (basis(side)[:FREQUENCIES].to(images) for side in images.shape[2:])
    return down.T @ numbers.view(len(images), -1, len(down), len(across)) @ across


def _covered(images: Tensor, mask: Tensor, place: Tensor) -> Tensor:
    """Images under a box with soft edges at `place` (n, 2) in [-1, 1]: down, across."""
    half, opacity, sharp = 0.5 * mask[:, :2].exp(), mask[:, 2].sigmoid(), mask[:, 3].exp()
    lines = []
    for axis, side in enumerate(images.shape[2:]):
        at = torch.linspace(1 / side - 1, 1 - 1 / side, side, device=images.device)
        inside = half[:, axis, None] - (at - place[:, axis, None]).abs()
        lines.append((side * sharp[:, None] * inside).sigmoid())
    box = (opacity[:, None, None] * lines[0][:, :, None] * lines[1][:, None, :])[:, None]
    return images + box * (mask[:, 4:, None, None].sigmoid() - images)


class Encoder(nn.Module):
    """Says theta of some pairs, and the code of each."""

    def __init__(self, shape: Shape) -> None:
        """`shape` of the images."""
        super().__init__()
        channels, down, across = shape[0], *(min(FREQUENCIES, side) for side in shape[1:])
        self.shape, self.sizes = shape, {
            "warp": (1 + WARP, NUMBERS), "operator": (1 + OPERATOR, SIDE * SIDE + 1),
            "tone": (1 + TONE, WAVES), "residual": (1 + RESIDUAL, channels * down * across),
            "mask": (4 + channels,),
        }  # fmt: skip
        self.look = nn.Sequential(
            nn.Conv2d(3 * channels, WIDTH, 3, padding=1), nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, stride=2), nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * WIDTH, HIDDEN), nn.ReLU(),
        )  # fmt: skip
        self.pool = nn.Sequential(_layers(HIDDEN, SEEN), nn.Tanh())
        self.theta = _layers(SEEN, sum(map(math.prod, self.sizes.values())))
        self.code = _layers(HIDDEN + SEEN, CODE)
        last = self.theta[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.1 / HIDDEN**0.5)
        nn.init.normal_(last.bias, std=0.1)

    def seen(self, pairs: Pairs) -> Tensor:
        """What each pair looks like, (n, HIDDEN)."""
        before, after = pairs
        found: Tensor = self.look(torch.cat([before, after, 3 * (after - before)], dim=1))
        return found

    def described(self, pooled: Tensor) -> Described:
        """Theta for what some sets of pairs look like, (sets, SEEN)."""
        sizes = [math.prod(size) for size in self.sizes.values()]
        parts = torch.split(self.theta(pooled), sizes, dim=1)
        shaped = [
            part.view(-1, *size) for part, size in zip(parts, self.sizes.values(), strict=True)
        ]
        start = shaped[-1].new_tensor([-0.7, -0.7, -2.0, 0.7] + [0.0] * self.shape[0])
        shaped[-1] = shaped[-1] + start
        return Described(*shaped)

    def codes(self, seen: Tensor, pooled: Tensor) -> Tensor:
        """Codes before they are squashed to [-1, 1], (n, CODE)."""
        found: Tensor = self.code(torch.cat([seen, pooled], dim=1))
        return found


def _layers(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
        nn.Linear(HIDDEN, after),
    )  # fmt: skip


def left_over(made: Tensor, pairs: Pairs) -> Tensor:
    """Share of what was changed that is not explained, (n,)."""
    return Pairs(made, pairs.attacked).distances / pairs.distances.clamp_min(SMALLEST)


def drawn(images: Tensor, shape: Shape, rng: Generator) -> Pairs:
    """EACH pairs of FAMILIES new families, one family after the other."""
    before = images[torch.randint(len(images), (FAMILIES * EACH,), generator=rng)]
    after = [family(shape, rng)(some, rng) for some in torch.split(before, EACH)]
    return Pairs(before, torch.cat(after))


def step_loss(encoder: Encoder, pairs: Pairs, rng: Generator) -> Tensor:
    """Of pairs as `drawn`: what is left over, and a penalty on codes."""
    seen = encoder.seen(pairs)
    shown = seen.view(FAMILIES, EACH, -1)[:, :SHOWN].mean(dim=1)
    pooled, of = encoder.pool(shown), torch.arange(FAMILIES).repeat_interleave(EACH)
    raw = encoder.codes(seen, pooled[of])
    codes = raw.tanh() + NOISE * torch.randn(raw.shape, generator=rng)
    left = left_over(generated(pairs.originals, encoder.described(pooled).take(of), codes), pairs)
    return left.clamp(max=4).mean() + PENALTY * raw.square().sum(dim=1).mean()


def trained(images: Tensor, shape: Shape, rng: Generator, steps: int = STEPS) -> Encoder:
    """An encoder that has seen FAMILIES * steps procedural families of `images` (n, ...)."""
    with global_state(rng):
        encoder = Encoder(shape)
    optimizer = torch.optim.Adam(encoder.parameters(), RATE)
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                cosine = (1 + math.cos(math.pi * step / steps)) / 2
                group["lr"] = RATE * min(1, (step + 1) / RAMP) * cosine
            optimizer.zero_grad()
            loss = step_loss(encoder, drawn(images, shape, rng), rng)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimizer.step()
    return encoder.requires_grad_(False).eval()
