"""Attacks broken in one way each: the contract says in which."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from attacks.gradient import PGD, PGDLinf
from benchmark.contracts.attack_rules import NEEDED, RULES, check_attack
from benchmark.contracts.suite import of_attack
from benchmark.core.types import NormBall


def failed(checks):
    return {check.name: check.message for check in checks if check.status == "failed"}


@dataclass(frozen=True)
class Base(PGDLinf):
    """PGD before it is broken."""

    eps: float = 0.1

    def honest(self, model, images, labels, goal, rng):
        return PGD.perturb(self, model, images, labels, goal, rng)


class OverBudget(Base):
    def perturb(self, model, images, labels, goal, rng):
        return (images + 1.5 * self.eps).clamp(0, 1)


class OutOfTheBox(Base):
    def perturb(self, model, images, labels, goal, rng):
        return images + self.eps


class NotFinite(Base):
    def perturb(self, model, images, labels, goal, rng):
        return images / 0


class OtherShape(Base):
    def perturb(self, model, images, labels, goal, rng):
        return self.honest(model, images, labels, goal, rng).flatten(1)


class OtherType(Base):
    def perturb(self, model, images, labels, goal, rng):
        return self.honest(model, images, labels, goal, rng).double()


class ChangesWeights(Base):
    def perturb(self, model, images, labels, goal, rng):
        with torch.no_grad():
            next(model.parameters()).add_(1)
        return self.honest(model, images, labels, goal, rng)


class UpdatesStatistics(Base):
    def perturb(self, model, images, labels, goal, rng):
        model.train()
        found = self.honest(model, images, labels, goal, rng)
        model.eval()
        return found


class LeavesGradients(Base):
    def perturb(self, model, images, labels, goal, rng):
        cross_entropy(model(images), labels).backward()
        return self.honest(model, images, labels, goal, rng)


class FreezesParameters(Base):
    def perturb(self, model, images, labels, goal, rng):
        model.requires_grad_(False)
        return self.honest(model, images, labels, goal, rng)


class LeavesTrainMode(Base):
    def perturb(self, model, images, labels, goal, rng):
        found = self.honest(model, images, labels, goal, rng)
        model.train()
        return found


class WritesOnItsInput(Base):
    def perturb(self, model, images, labels, goal, rng):
        return images.sub_(self.eps).clamp_(0, 1)


class DrawsFromTorch(Base):
    def perturb(self, model, images, labels, goal, rng):
        return (images + self.eps * (2 * torch.rand(images.shape) - 1)).clamp(0, 1)


class DrawsFromNumpy(Base):
    def perturb(self, model, images, labels, goal, rng):
        return (images + self.eps * float(np.random.rand())).clamp(0, 1)  # noqa: NPY002


class Reseeds(Base):
    def perturb(self, model, images, labels, goal, rng):
        random.seed(0)
        return self.honest(model, images, labels, goal, rng)


class CannotTakeNothing(Base):
    def perturb(self, model, images, labels, goal, rng):
        images.max()
        return self.honest(model, images, labels, goal, rng)


class Squeezes(Base):
    def perturb(self, model, images, labels, goal, rng):
        return self.honest(model, images, labels, goal, rng).squeeze(0)


class IgnoresTheBudget(Base):
    """Only at eps 0: elsewhere it is inside."""

    def perturb(self, model, images, labels, goal, rng):
        return (images + max(self.eps / 2, 0.01)).clamp(0, 1)


class Helps(Base):
    """Climbs down the loss: robust accuracy above clean."""

    def perturb(self, model, images, labels, goal, rng):
        towards = 2 * images - self.honest(model, images, labels, goal, rng)
        return towards.clamp(0, 1)


class GivesUpOnVerdicts(Base):
    def perturb(self, model, images, labels, goal, rng):
        return images if goal == "verdict" else self.honest(model, images, labels, goal, rng)


class DealsToTheBatch(Base):
    """Another start for an image that is attacked among fewer."""

    def perturb(self, model, images, labels, goal, rng):
        noise = torch.rand(images.shape, generator=rng.generator())
        return (images + self.eps * (2 * noise - 1)).clamp(0, 1)


class HidesWhatItLacks(Base):
    """As a library may that goes on whatever happens."""

    def perturb(self, model, images, labels, goal, rng):
        try:
            return self.honest(model, images, labels, goal, rng)
        except torch.OutOfMemoryError:
            return images


class Lazy(Base):
    """One tenth of the way and no further."""

    def perturb(self, model, images, labels, goal, rng):
        found = self.honest(model, images, labels, goal, rng)
        return images + 0.1 * (found - images)


class NeedsTenClasses(Base):
    def perturb(self, model, images, labels, goal, rng):
        model(images)[:, 9].sum()
        return self.honest(model, images, labels, goal, rng)


class Everywhere(NormBall):
    """A budget that is not kept."""

    def inside(self, images, perturbed):
        return torch.ones(len(images), dtype=torch.bool)


class KeepsNoBudget(Base):
    @property
    def threat(self):
        return Everywhere(self.norm, self.eps)

    def perturb(self, model, images, labels, goal, rng):
        return PGDLinf(3 * self.eps).perturb(model, images, labels, goal, rng)


BROKEN = [
    (OverBudget, "stays in the budget", "expected all inside linf 0.1, got 6 of 6 outside"),
    (OutOfTheBox, "gives finite images in the box", "expected pixels in [0, 1], got [0.1, 1.1]"),
    (NotFinite, "gives finite images in the box", "expected finite pixels"),
    (OtherShape, "keeps shape dtype and device", "got (6, 64) float32 cpu"),
    (OtherType, "keeps shape dtype and device", "got (6, 1, 8, 8) float64 cpu"),
    (ChangesWeights, "leaves weights and buffers untouched", "other weights or buffers"),
    (UpdatesStatistics, "leaves weights and buffers untouched", "other weights or buffers"),
    (LeavesGradients, "leaves no gradients behind", "use torch.autograd.grad on the images"),
    (FreezesParameters, "leaves no gradients behind", "use torch.autograd.grad on the images"),
    (LeavesTrainMode, "leaves train and eval mode untouched", "7 in train mode"),
    (WritesOnItsInput, "leaves its inputs untouched", "clone before writing"),
    (DrawsFromTorch, "same stream same output", "expected the same images, got a difference of"),
    (DrawsFromTorch, "leaves global random state untouched", "use rng"),
    (DrawsFromNumpy, "same stream same output", "expected the same images, got a difference of"),
    (DrawsFromNumpy, "leaves global random state untouched", "use rng"),
    (Reseeds, "leaves global random state untouched", "use rng"),
    (CannotTakeNothing, "empty batch returns empty", "RuntimeError"),
    (Squeezes, "takes a single image", "returned shape (1, 8, 8), expected (1, 1, 8, 8)"),
    (IgnoresTheBudget, "no budget gives back the input", "left its budget (linf 0)"),
    (Helps, "never helps", "expected"),
    (GivesUpOnVerdicts, "both goals break the same images", "0 only for a verdict"),
    (DealsToTheBatch, "an image meets the same in any batch", "use rng by image"),
    (HidesWhatItLacks, "goes on where memory is short", "expected the same images"),
    (KeepsNoBudget, "does not beat the closed form", "the budget is not kept"),
    (Lazy, "reaches the closed form", "missed"),
    (NeedsTenClasses, "few classes are handled or refused", "refuse 2 classes, got IndexError"),
]


@pytest.mark.parametrize(("attack", "rule", "message"), BROKEN)
def test_a_broken_attack_fails_its_check(attack, rule, message):
    problems = failed(check_attack(attack()))
    assert rule in problems
    assert message in problems[rule]


def test_every_rule_has_a_broken_attack():
    rules = {rule.__name__.replace("_", " ") for rule in (*NEEDED, *RULES)}
    assert rules - {rule for _, rule, _ in BROKEN} == {"runs"}


def test_an_honest_attack_of_the_same_make_passes():
    assert failed(check_attack(Base())) == {}


def test_a_crash_stops_the_contract_with_its_reason():
    class Crashes(Base):
        def perturb(self, model, images, labels, goal, rng):
            raise KeyError("spam")

    lines = [str(check) for check in check_attack(Crashes())]
    assert lines[0].startswith("FAILED  runs: KeyError: 'spam' (test_attack_rules.py:")
    assert lines[1:] == ["skipped everything else: needs 'runs'"]


def test_the_contract_leaves_no_trace_of_a_reseeding_attack():
    before = random.getstate()
    list(check_attack(Reseeds()))
    assert random.getstate() == before


def test_options_given_are_not_cut(monkeypatch):
    seen = []

    def note(self, model, images, labels, goal, rng):
        seen.append((self.steps, self.restarts))
        return images

    monkeypatch.setattr(PGD, "perturb", note)
    list(of_attack("pgd_linf[steps=77,restarts=5]"))
    assert {steps for steps, _ in seen} == {77}
    seen.clear()
    list(of_attack("pgd_linf[restarts=5]"))
    assert max(seen) == (40, 5)
    assert min(seen) == (3, 5)
