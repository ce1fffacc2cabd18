"""DeepFool, SparseFool and JSMA from torchattacks, all images at once.

The library takes image by image through Python, with a backward pass per class: up to a hundred
times slower. These are its steps, on every image that is still to be broken, with the Jacobian
from one backward pass; tests hold them to the library's own results.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attacks.libraries.model_proxy import WatchedProxy
from attacks.libraries.torchattacks_adapter import Arguments, Call, LibraryAttack, offer

AT_ONCE = 500
"""Copies of images, one for each class, in one pass."""
ARRIVED = 1e-5
"""Shorter steps of DeepFool, in l2, are rounding: the library makes them in vain until the end."""


class Slopes(NamedTuple):
    """Logits (rows, classes) and their gradients (rows, classes, ...) at some images."""

    logits: Tensor
    jacobian: Tensor


class Boundary(NamedTuple):
    """Where DeepFool ends: images, and the class of each there, or the one it was heading for."""

    images: Tensor
    classes: Tensor


def slopes(model: WatchedProxy, rows: Tensor, images: Tensor) -> Slopes:
    """A copy of each image for each class: a backward pass through all is the Jacobian."""
    logits, jacobian = [], []
    with torch.no_grad():
        classes = model.ask(rows[:1], images[:1]).shape[1]
    everyone = torch.arange(len(rows), device=rows.device)
    for some in torch.split(everyone, max(1, AT_ONCE // classes)):
        copies = images[some].repeat_interleave(classes, dim=0).requires_grad_()
        found = model.ask(rows[some].repeat_interleave(classes), copies)
        found = found.view(len(some), classes, classes)
        (gradient,) = torch.autograd.grad(found.diagonal(dim1=1, dim2=2).sum(), copies)
        logits.append(found[:, 0].detach())
        jacobian.append(gradient.view(len(some), classes, *images.shape[1:]))
    return Slopes(torch.cat(logits), torch.cat(jacobian))


def nearest(library: Any, rows: Tensor, images: Tensor, labels: Tensor) -> Boundary:
    """DeepFool for versions `images` of the images `rows` (int64): steps until it is wrong."""
    images, classes = images.clone(), labels.clone()
    going = torch.arange(len(rows), device=rows.device)
    for _ in range(library.steps):
        if not len(going):
            break
        at = slopes(library.model, rows[going], images[going])
        classes[going] = at.logits.argmax(dim=1)
        stay = classes[going] == labels[going]
        going = going[stay]
        step, classes[going] = _step(Slopes(at.logits[stay], at.jacobian[stay]), labels[going])
        images[going] = (images[going] + (1 + library.overshoot) * step).clamp(0, 1)
        going = going[step.flatten(1).norm(dim=1) > ARRIVED]
    return Boundary(images, classes)


def _step(at: Slopes, labels: Tensor) -> tuple[Tensor, Tensor]:
    """To the nearest of the linearised boundaries, (rows, ...), and whose it is, (rows,)."""
    own = torch.arange(len(labels), device=labels.device)
    gaps = (at.logits - at.logits[own, labels][:, None]).abs()
    normals = at.jacobian - at.jacobian[own, labels][:, None]
    sizes = normals.flatten(2).norm(dim=2)
    far = (gaps / sizes).scatter(1, labels[:, None], torch.inf)
    classes = far.argmin(dim=1)
    scale = gaps[own, classes] / sizes[own, classes].square()
    return scale.view(-1, *[1] * (normals.dim() - 2)) * normals[own, classes], classes


def deepfool(library: Any, images: Tensor, labels: Tensor) -> Tensor:
    """The library's `DeepFool.forward`, then all the way overshot, as published.

    The library overshoots each step by a share of it, so that its last ones end on the boundary,
    where rounding decides on which side.
    """
    rows = torch.arange(len(images), device=images.device)
    way = nearest(library, rows, images, labels).images - images
    overshoot: float = library.overshoot
    return (images + (1 + overshoot) * way).clamp(0, 1)


def sparsefool(library: Any, images: Tensor, labels: Tensor) -> Tensor:
    """The library's `SparseFool.forward`; its constructor does not take DeepFool's arguments."""
    library.deepfool.steps, library.deepfool.overshoot = 50, 0.02
    perturbed, going = images.clone(), torch.arange(len(images), device=images.device)
    for _ in range(library.steps):
        with torch.no_grad():
            right = library.model.ask(going, perturbed[going]).argmax(dim=1) == labels[going]
        going = going[right]
        if not len(going):
            break
        before, own = images[going], labels[going]
        found = nearest(library.deepfool, going, perturbed[going], own)
        point = before + library.lam * (found.images - before)
        normal = _normal(library.model, going, point, own, found.classes)
        moved = cross(before, normal, point)
        perturbed[going] = (before + (1 + library.overshoot) * (moved - before)).clamp(0, 1)
    return perturbed


def _normal(
    model: WatchedProxy, rows: Tensor, points: Tensor, labels: Tensor, classes: Tensor
) -> Tensor:
    """Gradient of the margin at `points`, of size 1, towards their class, or else `classes`."""
    points = points.detach().requires_grad_()
    logits = model.ask(rows, points)
    there = logits.argmax(dim=1)
    there = torch.where(there == labels, classes, there)
    margin = (logits.gather(1, there[:, None]) - logits.gather(1, labels[:, None])).sum()
    (gradient,) = torch.autograd.grad(margin, points)
    normal: Tensor = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return normal


def cross(images: Tensor, normals: Tensor, points: Tensor) -> Tensor:
    """The linear solver of SparseFool: move the steepest values, until beyond the plane.

    The planes go through `points` with `normals`; all (rows, ...).
    """
    shape, points, normals = images.shape, points.detach().flatten(1), normals.flatten(1)
    moved, left = images.flatten(1).clone(), normals.clone()
    side = (normals * (moved - points)).sum(dim=1).sign()
    going = torch.arange(len(images), device=images.device)
    going = going[(left != 0).any(dim=1)]
    while len(going):
        normal, point, free = normals[going], points[going], left[going]
        gap = (normal * (moved[going] - point)).sum(dim=1) + 0.001 * side[going]
        steepest, place = free.abs().max(dim=1, keepdim=True)
        step = (gap.abs()[:, None] / steepest).clamp_min(1e-4) * free.gather(1, place).sign()
        moved[going] = moved[going].scatter_add(1, place, step).clamp(0, 1)
        left[going] = free.scatter(1, place, 0.0)
        now = (normal * (moved[going] - point)).sum(dim=1).sign()
        going = going[(now == side[going]) & (left[going] != 0).any(dim=1)]
    return moved.view(shape)


def saliency(attack: Any, call: Call) -> Arguments:
    """JSMA sets two values a step: as many steps as `eps` pixels have pairs of values.

    The library takes a share of the values, gamma, and makes ceil(values * gamma / 2) steps.
    """
    channels, values = call.shape[0], call.shape[0] * call.shape[1] * call.shape[2]
    steps = max(int(attack.eps) * channels // 2, 1)
    return {"theta": attack.change, "gamma": (2 * steps - 0.5) / values}


def jsma(library: Any, images: Tensor, labels: Tensor) -> Tensor:
    """The library's JSMA, aimed at each image's likeliest wrong class, not (label + 1) % 10."""
    values, rows = images[0].numel(), torch.arange(len(images), device=images.device)
    flat = images.flatten(1).clone()
    free = flat < 0.99 if library.theta > 0 else flat > 0.01
    with torch.no_grad():
        logits = library.model.ask(rows, images)
    targets = logits.scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
    going = rows[(logits.argmax(dim=1) != targets) & free.any(dim=1)]
    for _ in range(-int(-values * library.gamma // 2)):
        if not len(going):
            break
        jacobian = slopes(library.model, going, flat[going].view(-1, *images.shape[1:])).jacobian
        for row, slope in zip(going.tolist(), jacobian.flatten(2), strict=True):
            pair = library.saliency_map(
                slope, targets[row : row + 1], library.theta > 0, free[row], values
            )
            for place in pair:
                flat[row, place] += library.theta
                free[row, place] = False
        flat = flat.clamp(0, 1)
        with torch.no_grad():
            now = library.model.ask(going, flat[going].view(-1, *images.shape[1:])).argmax(dim=1)
        going = going[(now != targets[going]) & free[going].any(dim=1)]
    return flat.view(images.shape)


ROWS = (
    LibraryAttack("deepfool", "DeepFool", "l2-gradient", "l2",
        "Steps to the nearest linearised boundary (Moosavi-Dezfooli et al. 2016).",
        {"steps": 50, "overshoot": 0.02},
        lambda attack, call: {"steps": attack.steps, "overshoot": attack.overshoot},
        lambda attack: 20 * attack.steps, minimum_norm=True, draws=False, run=deepfool),
    LibraryAttack("sparsefool", "SparseFool", "sparse", "l0",
        "DeepFool's boundary, few pixels at a time (Modas et al. 2019).",
        {"steps": 5, "sparsity": 1.2, "overshoot": 0.02},
        lambda attack, call: {
            "steps": attack.steps, "lam": attack.sparsity, "overshoot": attack.overshoot},
        lambda attack: attack.steps * 20 * 5, minimum_norm=True,
        white_box=True, draws=False, run=sparsefool),
    LibraryAttack("jsma", "JSMA", "sparse", "l0",
        "Saliency map (Papernot et al. 2016), aimed at the likeliest wrong class.",
        {"change": 1.0}, saliency, lambda attack: 21 * max(int(attack.eps) // 2, 1) + 2,
        minimum_norm=True, white_box=True, draws=False, run=jsma),
)  # fmt: skip

for row in ROWS:
    offer(row, __name__)
