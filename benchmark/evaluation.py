"""The attack proposes, the benchmark decides: verdicts, costs and the audit of every attack.

Nothing here trusts what an attack says about itself. What it returns is checked for shape, dtype,
finiteness, [0, 1] and the threat's budget in float32, and success is a fresh prediction.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.core.errors import AuditError, UsageError
from benchmark.core.types import Attack, Batch, Goal

PIXELS_AT_ONCE = 500 * 28 * 28
ROUNDING = 1e-6


class Attacked(NamedTuple):
    """What is left of an attack's proposal after the audit."""

    images: Tensor
    target: str
    """`state_hash` of the model that was attacked."""
    outside: int
    """Proposals of a minimum-norm attack that were over budget: the original image took over."""


@dataclass
class Meter:
    """Passes through the network, in images, and seconds."""

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0


@contextmanager
def metered(model: nn.Module, meter: Meter) -> Iterator[None]:
    """Count on `meter` every image that passes through `model`, forward and backward."""

    def count(_module: nn.Module, _inputs: object, logits: Tensor) -> None:
        meter.forwards += len(logits)
        if logits.requires_grad:
            logits.register_hook(count_backward)  # type: ignore[no-untyped-call]

    def count_backward(gradient: Tensor) -> None:
        meter.backwards += len(gradient)

    hook, begin = model.register_forward_hook(count), time.perf_counter()
    try:
        yield
    finally:
        hook.remove()
        meter.seconds += time.perf_counter() - begin


def frozen(model: nn.Module) -> nn.Module:
    """A copy for evaluation: eval mode, no parameter asks for a gradient."""
    copy = deepcopy(model).eval().requires_grad_(False)
    if any(module.training for module in copy.modules()):
        raise UsageError("the model stays in train mode after eval(); expected eval() to be obeyed")
    return copy


def state_hash(model: nn.Module) -> str:
    """16 hexadecimal digits over every parameter and buffer, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def chunks(batch: Batch) -> Iterator[Batch]:
    """The batch in pieces that fit in memory; the size depends on the image shape alone."""
    size = max(1, min(1000, PIXELS_AT_ONCE // batch.images.shape[1:].numel()))
    for start in range(0, len(batch.labels), size):
        piece = slice(start, start + size)
        yield Batch(batch.images[piece], batch.labels[piece])


@torch.no_grad()
def correct(model: nn.Module, batch: Batch) -> Tensor:
    """Whether each image is classified correctly, bool (n,); AuditError for logits not finite."""
    verdicts = []
    for images, labels in chunks(batch):
        logits = model(images)
        if logits.dim() != 2 or len(logits) != len(images):
            raise AuditError(
                f"expected logits (batch, classes) for {len(images)} images, "
                f"got shape {tuple(logits.shape)}"
            )
        if not logits.isfinite().all():
            broken = int((~logits.isfinite()).any(dim=1).sum())
            raise AuditError(f"logits are not finite for {broken} of {len(images)} images")
        verdicts.append(logits.argmax(dim=1) == labels)
    return torch.cat(verdicts) if verdicts else batch.labels.bool()


def run_attack(
    attack: Attack, model: nn.Module, batch: Batch, goal: Goal, meter: Meter, rng: torch.Generator
) -> Attacked:
    """Attack every image of the batch and audit what comes back.

    Raises:
        AuditError: the attack changed the model, left its mode changed, or broke the rules.
    """
    before = state_hash(model)
    proposals, outside = [], 0
    with metered(model, meter):
        for images, labels in chunks(batch):
            proposed = attack.perturb(model, images.clone(), labels.clone(), goal, rng)
            checked, over = audit(attack, images, proposed)
            proposals.append(checked)
            outside += over
    if any(module.training for module in model.modules()):
        raise AuditError(f"{attack.name} left the model in train mode")
    if state_hash(model) != before:
        raise AuditError(f"{attack.name} changed the weights or buffers of the model it attacked")
    return Attacked(torch.cat(proposals) if proposals else batch.images, before, outside)


def audit(attack: Attack, images: Tensor, proposed: Tensor) -> tuple[Tensor, int]:
    """Check one proposal; returns the images that count and how many were over budget.

    A minimum-norm attack may go over budget: there it failed, and the original image takes over.
    Any other attack that does is wrong, and so is anything outside [0, 1].
    """
    for what, expected, got in (
        ("shape", tuple(images.shape), tuple(proposed.shape)),
        ("dtype", images.dtype, proposed.dtype),
        ("device", images.device, proposed.device),
    ):
        if expected != got:
            raise AuditError(f"{attack.name} returned {what} {got}, expected {expected}")
    proposed = proposed.detach()
    if not proposed.isfinite().all():
        raise AuditError(f"{attack.name} returned images that are not finite")
    low, high = (float(proposed.min()), float(proposed.max())) if len(proposed) else (0.0, 1.0)
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise AuditError(f"{attack.name} returned pixels in [{low:.6g}, {high:.6g}], not [0, 1]")
    proposed = proposed.clamp(0, 1)
    inside = attack.threat.inside(images, proposed)
    over = int((~inside).sum())
    if over and not attack.minimum_norm:
        raise AuditError(
            f"{attack.name} left its budget ({attack.threat}) on {over} of {len(images)} images"
        )
    return torch.where(inside.view(-1, 1, 1, 1), proposed, images), over


def survives(
    attack: Attack, model: nn.Module, batch: Batch, meter: Meter, rng: torch.Generator
) -> tuple[Tensor, Attacked]:
    """Attack `model` for a verdict: which images stay correct, bool (n,), and the audited attack.

    Images that are wrong without an attack are left alone and count as broken.
    """
    verdicts = correct(model, batch)
    at_stake = Batch(batch.images[verdicts], batch.labels[verdicts])
    attacked = run_attack(attack, model, at_stake, "verdict", meter, rng)
    verdicts[verdicts.clone()] = correct(model, Batch(attacked.images, at_stake.labels))
    return verdicts, attacked


def check_reattack(again: Attacked, adapted: nn.Module) -> None:
    """Raise AuditError unless `again` was crafted against `adapted`: static scores may not pass."""
    if again.target != state_hash(adapted):
        raise AuditError("re-attacked examples were crafted against another model than the adapted")


def suspicions(model: nn.Module, batch: Batch) -> list[str]:
    """What makes a model's robust accuracy doubtful: flags for its records, found on `batch`."""
    images = batch.images.clone().requires_grad_()
    logits = model(images)
    flags = []
    if not torch.equal(logits, model(batch.images)):
        flags.append("randomised: two passes over the same images disagree")
    total = logits.detach().sum(dim=1)
    if (logits >= 0).all() and torch.allclose(total, torch.ones_like(total), atol=1e-4):
        flags.append("probabilities: outputs look like a softmax, expected logits")
    if not logits.requires_grad:
        return [*flags, "no gradient: logits do not depend differentiably on the images"]
    (gradient,) = torch.autograd.grad(cross_entropy(logits, batch.labels, reduction="sum"), images)
    zero = float((gradient.flatten(1).abs().amax(dim=1) == 0).float().mean())
    if zero > 0:
        flags.append(f"zero gradients: {zero:.0%} of images give none, gradient attacks are blind")
    return flags
