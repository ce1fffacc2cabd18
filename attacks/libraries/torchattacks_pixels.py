"""OnePixel and Pixle from torchattacks, all images at once.

The library tries candidate after candidate of image after image in Python: a hundred times slower.
Pixle below makes the library's own draws; the differential evolution of OnePixel makes the same
moves on other draws. Both leave an image at its first success.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacks.libraries.model_proxy import WatchedProxy
from attacks.libraries.torchattacks_adapter import LibraryAttack, offer

AT_ONCE = 1000
"""Candidates in one pass."""


@torch.no_grad()
def confidence(model: WatchedProxy, rows: Tensor, candidates: Tensor) -> Tensor:
    """Probability of the right class, (rows, tries), of candidates (rows, tries, ...)."""
    tries = candidates.shape[1]
    owners = rows.repeat_interleave(tries)
    found = [
        model.ask(some, images).softmax(dim=1).gather(1, model.batch.labels[some][:, None])
        for some, images in zip(
            torch.split(owners, AT_ONCE),
            torch.split(candidates.flatten(0, 1), AT_ONCE),
            strict=True,
        )
    ]
    return torch.cat(found).view(-1, tries)


def pixle(library: Any, images: Tensor, labels: Tensor) -> Tensor:
    """The library's `Pixle` for single pixels: copy one elsewhere, keep the best of the tries.

    The tries of a restart start from the same image, so they are one batch.
    """
    model, rounds, tries = library.model, library.restarts, library.max_patches
    height, width = images.shape[2:]
    draws = np.random.uniform(size=(len(images), rounds, tries, 4))  # noqa: NPY002 - the library's
    scale = torch.tensor([width - 1, height - 1, height - 1, width - 1])
    places = (torch.from_numpy(draws) * scale).long().to(images.device)
    best = images.clone()
    going = torch.arange(len(images), device=images.device)
    lowest = confidence(model, going, best[:, None])[:, 0]
    found = torch.zeros_like(labels, dtype=torch.bool)
    for place in places.unbind(1):
        going = going[~model.broken[going]]
        if not len(going):
            break
        candidates = copied(images[going], best[going], place[going])
        least, which = confidence(model, going, candidates).min(dim=1)
        better = least < lowest[going]
        # as long as nothing is better, the library goes on from the last candidate
        which = torch.where(better, which, tries - 1)
        taken = candidates[torch.arange(len(going), device=going.device), which]
        keep = (~better & found[going]).view(-1, 1, 1, 1)
        best[going] = torch.where(keep, best[going], taken)
        lowest[going] = torch.minimum(least, lowest[going])
        found[going] |= better
    return best


def copied(sources: Tensor, targets: Tensor, places: Tensor) -> Tensor:
    """Candidates (rows, tries, ...): targets with one pixel of the sources copied into each.

    `places` (rows, tries, 4) int64: column and row from which, row and column to which.
    """
    tries = places.shape[1]
    column, row, to_row, to_column = places.unbind(2)
    every = torch.arange(len(sources), device=sources.device)[:, None]
    candidates = targets[:, None].repeat(1, tries, 1, 1, 1)
    pixels = sources[every, :, row, column]
    candidates[every, torch.arange(tries, device=every.device), :, to_row, to_column] = pixels
    return candidates


def onepixel(library: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Differential evolution as the library sets it up (best1bin, recombination 1, dithered).

    A member of the population is, for each pixel, its row, its column and a value per channel,
    all in [0, 1]; what leaves that range is drawn anew.
    """
    model, channels = library.model, images.shape[1]
    genes = library.pixels * (2 + channels)
    members = max(1, library.popsize // genes) * genes
    going = torch.arange(len(images), device=images.device)
    people = torch.rand(len(images), members, genes, device=images.device, dtype=images.dtype)
    energy = confidence(model, going, painted(images, people, library.pixels))
    for _ in range(library.steps):
        stay = ~model.broken[going]
        going, people, energy = going[stay], people[stay], energy[stay]
        if not len(going):
            break
        trials = mutated(people, energy)
        tried = confidence(model, going, painted(images[going], trials, library.pixels))
        better = tried < energy
        people = torch.where(better[:, :, None], trials, people)
        energy = torch.where(better, tried, energy)
    perturbed = images.clone()
    if len(going):
        every = torch.arange(len(going), device=going.device)
        fittest = people[every, energy.argmin(dim=1)][:, None]
        perturbed[going] = painted(images[going], fittest, library.pixels)[:, 0]
    return perturbed


def mutated(people: Tensor, energy: Tensor) -> Tensor:
    """For each member the best one plus 0.5 to 1 times the difference of two others, (rows, ...).

    The two are distinct and not the member itself (Storn & Price 1997).
    """
    count, members, _ = people.shape
    every = torch.arange(count, device=people.device)[:, None]
    order = torch.rand(count, members, members, device=people.device)
    order.diagonal(dim1=1, dim2=2).fill_(-1.0)  # never among the largest
    one, other = order.topk(2, dim=2).indices.unbind(2)
    best = people[every[:, 0], energy.argmin(dim=1)][:, None]
    scale = 0.5 + 0.5 * torch.rand(count, 1, 1, device=people.device, dtype=people.dtype)
    trials = best + scale * (people[every, one] - people[every, other])
    fresh = torch.rand_like(trials)
    return torch.where((trials < 0) | (trials > 1), fresh, trials)


def painted(images: Tensor, people: Tensor, pixels: int) -> Tensor:
    """Candidates (rows, members, ...): each member's pixels painted into its row's image."""
    height, width = images.shape[2:]
    candidates = images[:, None].repeat(1, people.shape[1], 1, 1, 1)
    every = torch.arange(len(images), device=images.device)[:, None]
    member = torch.arange(people.shape[1], device=images.device)
    for gene in people.chunk(pixels, dim=2):
        row = (gene[..., 0] * height).long().clamp(max=height - 1)
        column = (gene[..., 1] * width).long().clamp(max=width - 1)
        candidates[every, member, :, row, column] = gene[..., 2:]
    return candidates


ROWS = (
    LibraryAttack("onepixel", "OnePixel", "sparse", "l0",
        "Differential evolution over `eps` pixels (Su et al. 2019).",
        {"steps": 20, "population": 50},
        lambda attack, call: {
            "pixels": int(attack.eps), "steps": attack.steps, "popsize": attack.population,
            "inf_batch": attack.population},
        lambda attack: attack.population * (attack.steps + 1), stops=True, run=onepixel,
        by_standing=True),
    LibraryAttack("pixle", "Pixle", "sparse", "l0",
        "Copies pixels elsewhere, the best of `tries` for each of `eps` (Pomponi et al. 2022).",
        {"tries": 50},
        lambda attack, call: {
            "x_dimensions": (1, 1), "y_dimensions": (1, 1), "pixel_mapping": "random",
            "restarts": int(attack.eps), "max_iterations": attack.tries,
            "update_each_iteration": False},
        lambda attack: int(attack.eps) * attack.tries + 1, stops=True, run=pixle),
)  # fmt: skip

for row in ROWS:
    offer(row, __name__)
