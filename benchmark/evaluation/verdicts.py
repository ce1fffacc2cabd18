"""The attack proposes, the benchmark decides: verdicts, costs and the audit of every attack.

Nothing here trusts what an attack says about itself. What it returns is checked for shape, dtype,
finiteness, [0, 1] and the threat's budget in float32, and success is a fresh prediction.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.core.copying import apart, bare, copied
from benchmark.core.errors import AuditError, ModelError
from benchmark.core.model_access import counting_points, float32_model, select_rows
from benchmark.core.out_of_memory import halved
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Goal
from benchmark.evaluation.batch_size import pieces, pieces_for
from benchmark.evaluation.logits import check_finite, expect_logits

ROUNDING = 1e-6


class Attacked(NamedTuple):
    """What is left of an attack's proposal after the audit."""

    images: Tensor
    target: str
    """`state_hash` of the model that was attacked."""
    outside: Tensor
    """bool (n,): proposals of a minimum-norm attack over budget; the original image took over."""


@dataclass
class Meter:
    """Passes through the network, in images, and seconds."""

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0

    def add(self, other: Meter) -> None:
        """Count what another has counted."""
        self.forwards += other.forwards
        self.backwards += other.backwards
        self.seconds += other.seconds


@contextmanager
def metered(model: nn.Module, meter: Meter) -> Iterator[None]:
    """Count on `meter` every image that passes through `model`, forward and backward."""

    def count(_module: nn.Module, _inputs: object, logits: Tensor) -> None:
        meter.forwards += len(logits)
        if logits.requires_grad:
            logits.register_hook(count_backward)  # type: ignore[no-untyped-call]

    def count_backward(gradient: Tensor) -> None:
        meter.backwards += len(gradient)

    hooks = [gate.register_forward_hook(count) for gate in counting_points(model)]
    begin = time.perf_counter()
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        meter.seconds += time.perf_counter() - begin


def frozen(model: nn.Module) -> nn.Module:
    """A copy for evaluation: eval mode, no parameter asks for a gradient, fast to ask.

    It may write to the images it is handed: those are a copy too.

    Raises:
        ModelError: the model does not obey `eval()`.
        AuditError: it cannot be copied.
    """
    copy = bare(copied(model))
    if isinstance(copy, torch.jit.ScriptModule):  # which takes no hooks
        copy = nn.Sequential(copy)
    copy.eval()  # what it returns is not asked, nor of other methods that models write anew
    for parameter in copy.parameters():
        parameter.requires_grad_(False)
    apart(copy)
    fast_layout(copy)
    if _own_images not in copy._forward_pre_hooks.values():
        copy.register_forward_pre_hook(_own_images)
    if any(module.training for module in copy.modules()):
        raise ModelError("the model stays in train mode after eval(); expected eval() to be obeyed")
    return copy


def _own_images(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(one.clone() for one in inputs)


def fast_layout(model: nn.Module) -> nn.Module:
    """Convolutions with channels last in a network that pools maxima.

    Max pooling of channels first runs at a tenth of the speed on a CPU: it takes two thirds of
    LeNet5's forward pass. Other networks gain little, and where groups of channels are normalised
    every GroupNorm would turn the layout around and back. The rule looks at the network alone, so
    that the last bits of a logit, which the layout decides, are the same in every run.
    """
    kinds = {type(module) for module in model.modules()}
    if nn.MaxPool2d not in kinds or nn.GroupNorm in kinds:
        return model
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return model


def state_hash(model: nn.Module) -> str:
    """16 hexadecimal digits over every parameter and buffer, names included.

    Beside what `state_dict` has, which may be no tensor: buffers that are not saved.
    """
    digest = hashlib.sha256()
    for name, value in sorted({**dict(model.named_buffers()), **model.state_dict()}.items()):
        digest.update(name.encode())
        for part in _leaves(value):
            digest.update(part)
    return digest.hexdigest()[:16]


def _leaves(value: Any) -> Iterator[Any]:
    """The bytes of a tensor, or of all that a table or list of them holds."""
    if isinstance(value, Tensor):
        plain = value.detach().cpu()
        plain = plain.dequantize() if plain.is_quantized else plain.to_dense()
        yield plain.contiguous().flatten().view(torch.uint8).numpy()
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield str(key).encode()
            yield from _leaves(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, str | bytes | int | float | None):
        yield repr(value).encode()


@torch.no_grad()
def correct(model: nn.Module, batch: Batch) -> Tensor:
    """Whether each image is classified correctly, bool (n,); AuditError for logits not finite."""

    def right(rows: Tensor) -> Tensor:
        images, labels = batch.take(rows)
        logits = expect_logits(select_rows(model, rows)(images), len(images))
        check_finite(logits)
        return logits.argmax(dim=1) == labels

    verdicts = [*halved(pieces(batch.images), right)]
    return torch.cat(verdicts) if verdicts else batch.labels.bool()


def run_attack(
    attack: Attack, model: nn.Module, batch: Batch, goal: Goal, meter: Meter, rng: Streams
) -> Attacked:
    """Attack every image of the batch and audit what comes back.

    Where memory does not suffice, fewer images are attacked at once.

    Raises:
        AuditError: the attack changed the model, left its mode changed, or broke the rules.
    """
    judge = float32_model(model)
    before = state_hash(judge)

    def attacked(rows: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = batch.take(rows)
        proposed = attack.perturb(
            select_rows(model, rows), images.clone(), labels.clone(), goal, rng.take(rows)
        )
        _check_slopes(attack, select_rows(model, rows), images, labels, proposed)
        return audit(attack, images, proposed)

    parts = pieces_for(attack, model, batch.images)
    with metered(model, meter):
        found = [*halved(parts, attacked)]
    if any(module.training for module in judge.modules()):
        raise AuditError(f"{attack.name} left the model in train mode")
    if state_hash(judge) != before:
        raise AuditError(f"{attack.name} changed the weights or buffers of the model it attacked")
    if not found:
        return Attacked(batch.images, before, batch.labels.bool())
    proposals, outside = map(torch.cat, zip(*found, strict=True))
    return Attacked(proposals, before, outside)


def _check_slopes(
    attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, proposed: Tensor
) -> None:
    """AuditError where an attack was led astray by a model whose gradients are not finite."""
    if not isinstance(proposed, Tensor) or bool(proposed.isfinite().all()):
        return
    asked = images.clone().requires_grad_()
    with torch.enable_grad():
        loss = cross_entropy(model(asked), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, asked, materialize_grads=True)
    blind = int((~gradient.flatten(1).isfinite()).any(dim=1).sum())
    if blind:
        raise AuditError(
            f"the model's gradients are not finite on {blind} of {len(images)} images: "
            f"{attack.name} follows them to images that are not finite"
        )


def audit(attack: Attack, images: Tensor, proposed: Tensor) -> tuple[Tensor, Tensor]:
    """Check one proposal; returns the images that count and which were over budget, bool (n,).

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
    if not inside.all() and not attack.minimum_norm:
        over = int((~inside).sum())
        raise AuditError(
            f"{attack.name} left its budget ({attack.threat}) on {over} of {len(images)} images"
        )
    return torch.where(inside.view(-1, 1, 1, 1), proposed, images), ~inside


def survives(
    attack: Attack, model: nn.Module, batch: Batch, meter: Meter, rng: Streams,
    clean: Tensor | None = None,
) -> tuple[Tensor, Attacked]:  # fmt: skip
    """Attack `model` for a verdict: which images stay correct, bool (n,), and the audited attack.

    Images that are wrong without an attack, not `clean` where that is known already, are left
    alone and count as broken.
    """
    judge = float32_model(model)
    verdicts = correct(judge, batch) if clean is None else clean.clone()
    rows = verdicts.nonzero().flatten()
    at_stake = batch.take(rows)
    attacked = run_attack(
        attack, select_rows(model, rows), at_stake, "verdict", meter, rng.take(rows)
    )
    verdicts[rows] = correct(select_rows(judge, rows), Batch(attacked.images, at_stake.labels))
    outside = torch.zeros_like(verdicts)
    outside[rows] = attacked.outside
    return verdicts, attacked._replace(outside=outside)


def check_reattack(again: Attacked, adapted: nn.Module) -> None:
    """Raise AuditError unless `again` was crafted against `adapted`: static scores may not pass."""
    if again.target != state_hash(adapted):
        raise AuditError("re-attacked examples were crafted against another model than the adapted")
