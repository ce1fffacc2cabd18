"""Families of ways to change a picture, drawn by chance: what a generator of threats learns from.

A family is drawn once and then deals one change to each image. None of them attacks a model, and
none is an attack of the matrix: warps of any shape and rank, masks, local operators, balls in
subspaces, tone curves, frequency bands, and two of these one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample, interpolate

from attacks.engine.dct import basis
from attacks.engine.resampling import own_places
from attacks.threats.local_filter import neighbours
from benchmark.core.types import Shape

Family = Callable[[Tensor, Generator], Tensor]
"""Images (n, ...) and chance in; the same changed, which may leave [0, 1]."""
MIXED = 0.25
"""Share of families that are two, one after the other."""


def family(shape: Shape, rng: Generator) -> Family:
    """One, for images of `shape`; what it deals is in [0, 1]."""
    count = 2 if _uniform(rng) < MIXED else 1
    parts = [KINDS[_integer(rng, len(KINDS))](shape, rng) for _ in range(count)]

    def deal(images: Tensor, rng: Generator) -> Tensor:
        for part in parts:
            images = part(images, rng).clamp(0, 1)
        return images

    return deal


def warps(shape: Shape, rng: Generator) -> Family:
    """Smooth moves of up to 0.06 to 0.3 sides, of rank 1 to 4, on 2x2 to 5x5 places."""
    side, rank, size = 2 + _integer(rng, 4), 1 + _integer(rng, 4), _between(rng, 0.12, 0.6)
    mode = "bicubic" if side > 2 else "bilinear"
    lattice = torch.randn((rank, 2, side, side), generator=rng)
    fields = interpolate(lattice, shape[1:], mode=mode, align_corners=True).permute(0, 2, 3, 1)
    longest = fields.norm(dim=3).amax(dim=(1, 2))[:, None, None, None]
    fields = size / rank**0.5 * fields / longest
    outside = "zeros" if _integer(rng, 4) else "border"

    def deal(images: Tensor, rng: Generator) -> Tensor:
        moves = torch.einsum("nk,khwt->nhwt", _numbers(len(images), rank, rng), fields)
        places = own_places(images).to(images) + moves
        return grid_sample(images, places, "bilinear", outside, align_corners=False)

    return deal


def masks(shape: Shape, rng: Generator) -> Family:
    """A box of up to 5/8 of a side that lies anywhere, of one colour or of many."""
    channels, height, width = shape
    down, right = (1 + _integer(rng, max(1, side * 5 // 8)) for side in (height, width))
    opacity = min(1.0, 0.4 + 0.8 * _uniform(rng))
    many = (channels, down, right) if _integer(rng, 3) == 0 else (channels, 1, 1)
    colour = torch.rand(many, generator=rng)
    colour = colour.round() if _integer(rng, 2) else colour

    def deal(images: Tensor, rng: Generator) -> Tensor:
        made = images.clone()
        tops = torch.randint(height - down + 1, (len(images),), generator=rng).tolist()
        lefts = torch.randint(width - right + 1, (len(images),), generator=rng).tolist()
        for image, top, left in zip(made, tops, lefts, strict=True):
            box = image[:, top : top + down, left : left + right]
            box.copy_((1 - opacity) * box + opacity * colour)
        return made

    return deal


def operators(shape: Shape, rng: Generator) -> Family:
    """Local filters of 3x3 or 5x5 pixels and a constant, of rank 0 to 2."""
    size, rank = 3 + 2 * _integer(rng, 2), _integer(rng, 3)
    mean, *more = (_kernel(size, rng) for _ in range(1 + rank))
    mean = 0 * mean if more and _integer(rng, 2) else mean

    def deal(images: Tensor, rng: Generator) -> Tensor:
        numbers = _numbers(len(images), rank, rng)
        kernels = mean + numbers @ torch.stack(more) if more else mean.expand(len(images), -1)
        return images + (neighbours(images, size) @ kernels[:, :, None]).view_as(images)

    return deal


def _kernel(size: int, rng: Generator) -> Tensor:
    """A difference from doing nothing: smoothing, sharpening or anything, (size^2 + 1,)."""
    kernel = torch.rand(size * size, generator=rng).square()
    kernel = kernel / kernel.sum()
    kernel[size * size // 2] -= 1
    if _integer(rng, 2):
        kernel = torch.randn(size * size, generator=rng) / size
    constant = (0.4 * _uniform(rng) - 0.2) * _integer(rng, 2)
    sign = 1 if _integer(rng, 3) else -1
    return torch.cat([sign * _between(rng, 0.3, 1) * kernel, torch.tensor([constant])])


def balls(shape: Shape, rng: Generator) -> Family:
    """The border of a ball in linf, l2 or l1 of a random subspace of 1 to 16 directions."""
    rank, norm = 2 ** _integer(rng, 5), _integer(rng, 3)
    directions = torch.randn((rank, *shape), generator=rng)
    if _integer(rng, 2):
        coarse = torch.randn((rank, shape[0], 3, 3), generator=rng)
        directions = interpolate(coarse, shape[1:], mode="bicubic", align_corners=True)
    directions = _size(shape, rng) * directions / _lengths(directions)

    def deal(images: Tensor, rng: Generator) -> Tensor:
        numbers = torch.randn((len(images), rank), generator=rng)
        if norm == 0:
            numbers = numbers.sign() / rank**0.5
        elif norm == 1:
            numbers = numbers / numbers.norm(dim=1, keepdim=True)
        else:
            one = torch.randint(rank, (len(images), 1), generator=rng)
            numbers = torch.zeros_like(numbers).scatter(1, one, 1.0) * numbers.sign()
        return images + torch.einsum("nk,kchw->nchw", numbers, directions)

    return deal


def tones(shape: Shape, rng: Generator) -> Family:
    """A curve that never falls, the same for all pixels; how far each image follows it differs."""
    knots = torch.cat([torch.zeros(1), (0.05 + torch.rand(5, generator=rng)).cumsum(0)])
    knots = knots / knots[-1]
    if _integer(rng, 2):
        knots = torch.linspace(0, 1, 6) ** _between(rng, 0.3, 3.3)
    low, high = 0.0, 1.0
    if _integer(rng, 2):
        low, high = 0.45 * _uniform(rng) - 0.1, 1.1 - 0.45 * _uniform(rng)
    all_alike = _integer(rng, 2)

    def deal(images: Tensor, rng: Generator) -> Tensor:
        share = 2 * torch.rand((len(images), 1, 1, 1), generator=rng) - 1
        share = torch.ones_like(share) if all_alike else share
        place = (images * 5).clamp(0, 4.999)
        below = place.long()
        curve = knots[below] + (place - below) * (knots[below + 1] - knots[below])
        return images + share * (low + (high - low) * curve - images)

    return deal


def bands(shape: Shape, rng: Generator) -> Family:
    """Some frequencies weakened, or noise of these frequencies alone."""
    down, across = (basis(side).float() for side in shape[1:])
    rows, columns = (torch.arange(side) / side for side in shape[1:])
    frequencies = (rows[:, None].square() + columns.square()).sqrt()
    low = 1.1 * _uniform(rng)
    band = ((frequencies >= low) & (frequencies < low + _between(rng, 0.15, 0.8))).float()
    gone, size, all_alike = 0.6 + 0.4 * _uniform(rng), _size(shape, rng), _integer(rng, 2)

    def weaken(images: Tensor, rng: Generator) -> Tensor:
        share = torch.rand((len(images), 1, 1, 1), generator=rng)
        share = torch.ones_like(share) if all_alike else share
        return images - share * gone * (down.T @ (band * (down @ images @ across.T)) @ across)

    def disturb(images: Tensor, rng: Generator) -> Tensor:
        noise = down.T @ (band * torch.randn(images.shape, generator=rng)) @ across
        return images + size * noise / _lengths(noise)

    return weaken if _integer(rng, 2) else disturb


KINDS: tuple[Callable[[Shape, Generator], Family], ...] = (
    warps, warps, masks, masks, operators, operators, balls, tones, bands,
)  # fmt: skip
"""As often as they stand here."""


def _size(shape: Shape, rng: Generator) -> float:
    """Of a change in l2: 0.3 to 2 on 64 numbers, and as much for each number of others."""
    return float(_between(rng, 0.3, 2.0) * (math.prod(shape) / 64) ** 0.5)


def _lengths(images: Tensor) -> Tensor:
    lengths: Tensor = images.flatten(1).norm(dim=1).clamp_min(1e-6)
    return lengths[:, None, None, None]


def _numbers(count: int, rank: int, rng: Generator) -> Tensor:
    """Numbers (count, rank) in a box, in a ball, or on its border."""
    numbers = 2 * torch.rand((count, rank), generator=rng) - 1
    least = (math.inf, 1.0, 1e-6)[_integer(rng, 3)]
    lengths = numbers.norm(dim=1, keepdim=True).clamp_min(least)
    return numbers if least == math.inf else numbers / lengths


def _uniform(rng: Generator) -> float:
    return float(torch.rand((), generator=rng))


def _between(rng: Generator, low: float, high: float) -> float:
    """By chance, every ratio as likely."""
    return float(low * (high / low) ** _uniform(rng))


def _integer(rng: Generator, high: int) -> int:
    return int(torch.randint(high, (), generator=rng))
